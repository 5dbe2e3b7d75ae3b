"""Read your writes: a query given a position waits until the model that it reads has come there, or says `stale`."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from myevents.errors import ErrorCode, Refused
from query.reads import Reads

HEADER: Final = "MyEvents-Position"

PATIENCE: Final = 2.0
"""Seconds a query waits at most."""

_POLL: Final = 0.02
_POSITION: Final = re.compile(r"(\d{1,4}):(\d{1,18})\Z", re.ASCII)


class Position:
    """The position that one request asks for, if any; `stale` once it was waited for in vain."""

    def __init__(self, reads: Reads, header: str | None) -> None:
        self._reads = reads
        self._wanted = _parsed(header)
        self._reached: set[str] = set()
        self.stale = False

    async def reached(self, model: str) -> None:
        """Return once `model` has come to the position, or cannot be waited for any longer."""
        if self._wanted is None or model in self._reached:
            return
        self._reached.add(model)
        partition, seq = self._wanted
        try:
            async with asyncio.timeout(PATIENCE):
                while await self._reads.applied(model, partition) < seq:  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            self.stale = True


def _parsed(header: str | None) -> tuple[int, int] | None:
    if header is None:
        return None
    found = _POSITION.match(header)
    if found is None:
        message = f"{HEADER} takes a position as a command's answer gives it: partition:seq."
        raise Refused(ErrorCode.INVALID_INPUT, message, (HEADER,))
    return int(found[1]), int(found[2])
