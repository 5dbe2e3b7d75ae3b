"""The search index as a consumer of the log, of its own: neither it nor the read models wait for each other."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Final

import asyncpg
import structlog
from prometheus_client import CollectorRegistry

from myevents.log.port import Log
from myevents.search.port import SearchBuilds, SearchUnavailable
from myevents.telemetry.read_models import Following
from projector.search_folding import take
from projector.search_registry import NAME, VERSION, alone, park, set_aside, tell

PAUSE: Final = 0.1
"""Seconds between two commits: each waits for the disk some 15 times."""

LONGEST_REST: Final = 2.0
"""Seconds of rest at most: a round that took long may have been one of a process that was stopped meanwhile."""

POLL: Final = 2.0
"""Seconds between two looks at the log when no notice comes."""

_log = structlog.get_logger()
_PASSING: Final = (
    OSError,
    SearchUnavailable,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
)


class SearchProjector:
    """Keeps the index that serves up to date. One process writes it at a time; others wait for its lock."""

    def __init__(
        self, *, log: Log, pool: asyncpg.Pool, builds: SearchBuilds, following: Following | None = None
    ) -> None:
        self._following = following or Following(CollectorRegistry())
        self._log = log
        self._pool = pool
        self._builds = builds

    async def prepare(self) -> None:
        """Enter the index among the read models, with the checkpoints that it really has."""
        async with alone(self._pool) as connection:
            await connection.execute(
                "insert into read.builds (model, build, version, state) values ($1, 1, $2, 'live')"
                " on conflict do nothing",
                NAME,
                VERSION,
            )
            index = await self._builds.live()
            await index.hold()
            held = await index.checkpoints()
            heads = await self._log.heads()
            while any(seq > heads.get(partition, 0) for partition, seq in held.items()):
                # It was filled from a log that is no more.
                _log.warning("search_filled_anew", reason="the index is ahead of the log")
                await self._builds.serve(await self._builds.begin())
                held = await (await self._builds.live()).checkpoints()
            every = {partition: held.get(partition, 0) for partition in range(self._log.partitions)}
            await tell(connection, every)

    async def run(self) -> None:
        """Follow the log until cancelled; what passes by itself is waited for."""
        clock = asyncio.get_running_loop().time
        told = ""
        while True:
            try:
                await self.prepare()
                told = ""
                while True:
                    begun = clock()
                    if not await self.catch_up():
                        await self._log.changed(POLL)
                    else:
                        await asyncio.sleep(rest_after(clock() - begun, self._builds.rest))
            except _PASSING as error:
                if isinstance(error, asyncpg.LockNotAvailableError):
                    # Another process writes it: to wait for it is all there is to do.
                    self._following.turned(NAME)
                reason = f"{type(error).__name__}: {error}"
                if reason != told:
                    # Who waits for another process's lock would say so every second.
                    _log.warning("search_waits", reason=type(error).__name__, told=str(error))
                told = reason
                await asyncio.sleep(random.uniform(0.2, 1.5))

    async def catch_up(self) -> int:
        """Take in all that is in the log now; how many facts that was."""
        ahead: Mapping[int, int] | None = None
        done = 0
        while True:
            async with alone(self._pool) as connection:
                parked_before = await set_aside(connection)
                index = await self._builds.live()
                await index.hold()
                if ahead is None:
                    # Asked by the writer alone: who only waits for the lock need not follow the log.
                    held = await index.checkpoints()
                    ahead = await self._log.ahead(
                        {number: held.get(number, 0) for number in range(self._log.partitions)}
                    )
                begun = time.time_ns()
                taken = await take(index, self._log, ahead, parked_before)
                for parked in taken.parked:
                    await park(connection, parked)
                await tell(connection, taken.checkpoints)
            if not taken.facts:
                self._following.turned(NAME)
                return done
            self._following.applied(NAME, NAME, taken.facts, taken.traceparents, begun)
            done += taken.facts


def rest_after(taken: float, share: float) -> float:
    """Seconds to rest after commits that took that long, `share` of it, so that much else is done by this machine."""
    return min(max(PAUSE, share * taken), LONGEST_REST)
