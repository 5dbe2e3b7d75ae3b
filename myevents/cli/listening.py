"""Serving an application over HTTP until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from myevents.cli.writing import InPieces, WriteDeadlineProtocol
from myevents.edge import Edge
from myevents.errors import SettingsError
from myevents.settings import Settings
from myevents.telemetry.health import Health
from myevents.telemetry.process import Telemetry
from myevents.tls import Certificate
from myevents.trusted_peers import TrustedPeers

_GRACE = 4
"""Seconds that requests under way are given at the end."""


_GARBAGE = 1_000
"""New objects after which the collector looks at them: few, for a look at 20,000 holds requests up for 7 ms."""


_TURN = 0.0005
"""Seconds after which a thread that computes lets another one on."""

_log = structlog.get_logger()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals cancel the task that serves: uvicorn would raise them again, into the middle of our own ending.
        yield


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where requests come in: the plain port, and one with TLS where there is a certificate."""

    plain: socket.socket
    safe: socket.socket | None = None
    certificate: Certificate | None = None


def listening(settings: Settings) -> Listening:
    """The sockets to serve on; raises `SettingsError` where they cannot be had, or the certificate does not fit."""
    certificate = _certificate(settings)
    plain = _socket(settings.host, settings.port, "MYEVENTS_PORT")
    if certificate is None:
        return Listening(plain=plain)
    safe = _socket(settings.host, settings.tls_port, "MYEVENTS_TLS_PORT")
    return Listening(plain=plain, safe=safe, certificate=certificate)


def _certificate(settings: Settings) -> Certificate | None:
    if not settings.tls_certificate and not settings.tls_key:
        return None
    if not settings.tls_certificate or not settings.tls_key:
        raise SettingsError("MYEVENTS_TLS_CERTIFICATE and MYEVENTS_TLS_KEY are given both or not at all.")
    return Certificate(Path(settings.tls_certificate), Path(settings.tls_key))


def _socket(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        at = f"{host}:{port}"
        raise SettingsError(f"Nothing can listen on {at} ({error}): set MYEVENTS_HOST or {setting}.") from error


@contextlib.asynccontextmanager
async def telling(settings: Settings, telemetry: Telemetry) -> AsyncIterator[None]:
    """Meanwhile tell of metrics and health on a port of their own; raises `SettingsError` where it cannot be had.

    Where nobody asked for that very port, a taken one is only warned of: on a laptop something else may have it.
    """
    if not settings.metrics_port:
        yield
        return
    try:
        at = _socket(settings.host, settings.metrics_port, "MYEVENTS_METRICS_PORT")
    except SettingsError as error:
        if settings.metrics_port_is_given:
            raise
        _log.warning("no_metrics", reason=str(error))
        yield
        return
    server = _server(Edge(telemetry.application()))
    serving = asyncio.create_task(server.serve(sockets=[at]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def serve_http(application: ASGIApp, at: Listening, settings: Settings, health: Health) -> None:
    """Answer requests until cancelled, and for a while more; those under way then are answered first."""
    # What is there by now stays for good: looked through again and again, it would hold requests up for tens of ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    # Searches run in threads of their own, which would otherwise wait 5 ms for whoever computes.
    sys.setswitchinterval(_TURN)
    letting_go, proxies = InPieces(_LettingGo(application, health)), settings.trusted_proxies
    servers = [(_server(letting_go, proxies=proxies), at.plain)]
    if at.safe is not None and at.certificate is not None:
        servers.append((_server(letting_go, at.certificate.context, proxies), at.safe))
    serving = asyncio.gather(*(server.serve(sockets=[socket]) for server, socket in servers))
    renewing = asyncio.create_task(at.certificate.renew()) if at.certificate is not None else None
    health.started = True
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        await asyncio.wait({serving}, timeout=settings.stop_delay)
        for server, _ in servers:
            server.should_exit = True
        await serving
    finally:
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait({renewing})


def _server(application: ASGIApp, tls: ssl.SSLContext | None = None, proxies: Sequence[str] = ()) -> _Server:
    config = uvicorn.Config(
        TrustedPeers(application, proxies),
        http=WriteDeadlineProtocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_GRACE,
        # `TrustedPeers` reads them.
        proxy_headers=False,
    )
    if tls is not None:
        context = tls
        config.ssl_context_factory = lambda *_: context
    return _Server(config)


class _LettingGo:
    """Lets callers go from when the process is about to stop: they connect again, and to another one."""

    def __init__(self, application: ASGIApp, health: Health) -> None:
        self._application = application
        self._health = health

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        def last(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start" and self._health.leaving:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            return send(message)

        return self._application(scope, receive, last)
