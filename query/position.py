"""Read your writes: a query given a position waits until the model that it reads has come there, or says `stale`."""

from __future__ import annotations

import asyncio
import re
from typing import Final, Protocol

from msgspec import Struct, field

from myevents.errors import ErrorCode, Refused

HEADER: Final = "MyEvents-Position"

PATIENCE: Final = 2.0
"""Seconds a query waits at most."""

_POLL: Final = 0.02
_POSITION: Final = re.compile(r"(\d{1,4}):(\d{1,18})\Z", re.ASCII)


class Applied(Protocol):
    """Tells how far read models have come."""

    async def applied(self, model: str, partition: int, /) -> int:
        """The seq that the live build of `model` has come to in `partition`."""


class Used(Struct, kw_only=True):
    """What an answer was made of: the read models, and whether who asked matters beyond being signed in or not.

    An answer that is `momentary` tells of the moment that it is made in, and is another one in the next.
    """

    models: set[str] = field(default_factory=set)
    personal: bool = False
    momentary: bool = False


class Position:
    """The position that one request asks for, if any; `stale` once a model was waited for in vain.

    All of a request's fields share one wait for a model, and one end of their patience.
    """

    def __init__(self, reads: Applied, header: str | None) -> None:
        self._reads = reads
        self.wanted = _parsed(header)
        self._waits: dict[str, asyncio.Task[bool]] = {}
        self._end = asyncio.get_running_loop().time() + PATIENCE
        self.stale = False
        self.used = Used()

    async def reached(self, *models: str) -> bool:
        """Return once all `models` have come to the position, or cannot be waited for any longer.

        Tells whether a position is asked for at all. Whoever reads a model says so here first.
        """
        self.used.models.update(models)
        if self.wanted is None:
            return False
        for model in models:
            if model not in self._waits:
                self._waits[model] = asyncio.create_task(self._comes(model, *self.wanted))
        waits = [self._waits[model] for model in models]
        try:
            came = await asyncio.gather(*waits)
        except asyncio.CancelledError:
            # The request has ended, so nobody else waits for these any more.
            for wait in waits:
                wait.cancel()
            raise
        self.stale = self.stale or not all(came)
        return True

    async def _comes(self, model: str, partition: int, seq: int) -> bool:
        try:
            async with asyncio.timeout_at(self._end):
                while not await self._is_there(model, partition, seq):  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            return False
        return True

    async def _is_there(self, model: str, partition: int, seq: int) -> bool:
        try:
            return await self._reads.applied(model, partition) >= seq
        except Refused:
            # Whoever then reads says so, unless it passes before.
            return False


def _parsed(header: str | None) -> tuple[int, int] | None:
    if header is None:
        return None
    found = _POSITION.match(header)
    if found is None:
        message = f"{HEADER} takes a position as a command's answer gives it: partition:seq."
        raise Refused(ErrorCode.INVALID_INPUT, message, (HEADER,))
    return int(found[1]), int(found[2])
