"""Work that goes on beside what a process serves: kept up whatever befalls it, ended when the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

import structlog

PAUSE: Final = 1.0
"""Seconds after which what failed is begun again."""

_log = structlog.get_logger()


async def kept_up(name: str, run: Callable[[], Awaitable[None]], *, once: bool = False) -> None:
    """Run for ever, or until it is done `once`: what nobody foresaw is told, and tried again after a while."""
    while True:
        try:
            await run()
            if once:
                return
        except Exception:
            _log.exception("failed", what=name)
        await asyncio.sleep(PAUSE)


@asynccontextmanager
async def running(work: Coroutine[None, None, None], *, patience: float = PAUSE) -> AsyncIterator[asyncio.Task[None]]:
    """Do `work` meanwhile; it is told to end, and again where it has not after `patience` seconds."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        # More than once: a lost connection may come instead of the cancellation, and be taken for one that passes.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=patience)
