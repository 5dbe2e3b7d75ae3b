"""Serving an application over HTTP until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from myevents.errors import SettingsError
from myevents.settings import Settings

_GRACE = 5
"""Seconds that requests under way are given at the end."""


_GARBAGE = 1_000
"""New objects after which the collector looks at them: few, for a look at 20,000 holds requests up for 7 ms."""


_TURN = 0.0005
"""Seconds after which a thread that computes lets another one on."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals cancel the task that serves: uvicorn would raise them again, into the middle of our own ending.
        yield


def listening(settings: Settings) -> socket.socket:
    """The socket to serve on; raises `SettingsError` where it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        at = f"{settings.host}:{settings.port}"
        raise SettingsError(f"Nothing can listen on {at} ({error}): set MYEVENTS_HOST or MYEVENTS_PORT.") from error


async def serve_http(application: Starlette, at: socket.socket) -> None:
    """Answer requests until cancelled; those under way are answered first."""
    config = uvicorn.Config(
        application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE
    )
    server = _Server(config)
    # What is there by now stays for good: looked through again and again, it would hold requests up for tens of ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    # Searches run in threads of their own, which would otherwise wait 5 ms for whoever computes.
    sys.setswitchinterval(_TURN)
    serving = asyncio.create_task(server.serve(sockets=[at]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
