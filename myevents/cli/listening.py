"""Serving an application over HTTP until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from myevents.errors import SettingsError
from myevents.settings import Settings
from myevents.telemetry.health import Health
from myevents.telemetry.process import Telemetry

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


def listening(settings: Settings) -> socket.socket:
    """The socket to serve on; raises `SettingsError` where it cannot be had."""
    return _socket(settings.host, settings.port, "MYEVENTS_PORT")


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
    server = _server(telemetry.application())
    serving = asyncio.create_task(server.serve(sockets=[at]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def serve_http(application: ASGIApp, at: socket.socket, settings: Settings, health: Health) -> None:
    """Answer requests until cancelled, and for a while more; those under way then are answered first."""
    # What is there by now stays for good: looked through again and again, it would hold requests up for tens of ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    # Searches run in threads of their own, which would otherwise wait 5 ms for whoever computes.
    sys.setswitchinterval(_TURN)
    server = _server(_LettingGo(application, health))
    serving = asyncio.create_task(server.serve(sockets=[at]))
    health.started = True
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        await asyncio.wait({serving}, timeout=settings.stop_delay)
        server.should_exit = True
        await serving


def _server(application: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE)
    )


class _LettingGo:
    """Lets callers go from when the process is about to stop: they connect again, and to another one."""

    def __init__(self, application: ASGIApp, health: Health) -> None:
        self._application = application
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._health.leaving:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._application(scope, receive, last)
