"""Where queries read: the replicas in turn, and the read models' own database where one of them does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import asyncpg
import structlog

from myevents.errors import ErrorCode, Refused
from query.source import DEADLINE, Source, Unanswered
from query.versions import DEADLINE as _LOOK
from query.versions import Versions, take_notices

_GLANCE: Final = 1.0
"""Seconds between two looks at whether a replica that was given up answers again."""

STATEMENTS_AT_ONCE: Final = 4
"""Statements of one request that run at a time: whatever it asks for, connections are left to others."""

_log = structlog.get_logger()


class Sources:
    """All servers there are to read from; the primary has whatever a replica has, and maybe more."""

    def __init__(self, primary: asyncpg.Pool, replicas: Sequence[asyncpg.Pool] = ()) -> None:
        self._primary = Source(primary)
        self._replicas = [Source(pool) for pool in replicas]
        self._turn = 0
        self._versions = {
            source: Versions(partial(source.fetch, deadline=_LOOK)) for source in (self._primary, *self._replicas)
        }

    def one(self) -> Reading:
        """For one request: all of it is read from one server, so that what it waited for there is there."""
        for _ in self._replicas:
            self._turn = (self._turn + 1) % len(self._replicas)
            replica = self._replicas[self._turn]
            if replica.up:
                return Reading(replica, self._primary, self._versions[replica])
        return Reading(self._primary, self._primary, self._versions[self._primary])

    async def listen(self) -> None:
        """Take the projector's notices until cancelled, for all servers: only the primary has them."""
        await take_notices(self._primary.pool, *self._versions.values())

    async def close(self) -> None:
        """End looks that are under way."""
        for versions in self._versions.values():
            await versions.close()

    async def watch(self) -> None:
        """Look again and again at replicas that were given up, until cancelled."""
        while True:
            await asyncio.sleep(_GLANCE)
            for replica in self._replicas:
                if not replica.up:
                    await _looked(replica)


class Reading:
    """A server that is kept to while it answers; after that, the primary, which is never behind it."""

    def __init__(self, source: Source, primary: Source, versions: Versions) -> None:
        self._source = source
        self._primary = primary
        self._slots: asyncio.Semaphore | None = None
        self.versions = versions
        """How new the read models are on the server that is asked first; on the primary they are not older."""

    async def fetch(self, statement: str, *values: Any, deadline: float = DEADLINE) -> list[asyncpg.Record]:
        """The rows, from either within `deadline` seconds; raises `Refused` with OVERLOADED where neither answers."""
        if self._slots is None:
            # Only now: most requests are answered without a statement.
            self._slots = asyncio.Semaphore(STATEMENTS_AT_ONCE)
        async with self._slots:
            return await self._fetch(statement, *values, deadline=deadline)

    async def _fetch(self, statement: str, *values: Any, deadline: float) -> list[asyncpg.Record]:
        if self._source is not self._primary:
            try:
                return await self._source.fetch(statement, *values, deadline=deadline)
            except Unanswered as error:
                _log.warning("replica_given_up", reason=str(error))
                self._source = self._primary
        try:
            return await self._primary.fetch(statement, *values, deadline=deadline)
        except Unanswered as error:
            message = "The read models cannot be read now: try again shortly."
            raise Refused(ErrorCode.OVERLOADED, message, (), 1.0) from error


async def _looked(replica: Source) -> None:
    try:
        await replica.fetch("select 1")
    except Unanswered:
        return
    _log.info("replica_is_back")
