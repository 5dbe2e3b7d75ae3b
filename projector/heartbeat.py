"""Writes down once a second how far the log is and who is there: so that whoever sees the read models sees their lag.

It stands beside what follows the log and measures it from outside, also the search index: a follower that hangs is
as visible as one that is dead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final

import asyncpg
import msgspec
import structlog
from prometheus_client import CollectorRegistry

from myevents.log.port import Log
from myevents.log.store import PASSING
from myevents.telemetry.read_models import Following
from projector.model import Connection
from projector.patience import COLLISIONS

NAME: Final = "heartbeat"

BEAT: Final = 1.0
"""Seconds between two beats."""

_REMEMBERED: Final = 600
"""Beats: who is further behind than that is told to be as late as he last was known to be."""

_log = structlog.get_logger()
_Heads = Mapping[int, int]


class Heartbeat:
    """Remembers when the log was how long, and so knows up to what moment a build has everything."""

    def __init__(self, *, log: Log, pool: asyncpg.Pool, following: Following | None = None) -> None:
        self._following = following or Following(CollectorRegistry())
        self._log = log
        self._pool = pool
        self._seen: deque[tuple[float, _Heads]] = deque(maxlen=_REMEMBERED)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                await self.beat()
                self._following.turned(NAME)
            except (*PASSING, *COLLISIONS, asyncpg.ForeignKeyViolationError) as error:
                # The last one: a build was dropped at this moment.
                _log.warning("heartbeat_waits", reason=type(error).__name__)
            await asyncio.sleep(BEAT)

    async def beat(self) -> None:
        """Look at the log and at all builds, and write it down."""
        clock = asyncio.get_running_loop().time
        looked, heads = clock(), await self._log.seen()
        self._seen.append((looked, heads))
        async with self._pool.acquire(timeout=5) as connection:
            checkpoints = await _checkpoints(connection)
            reached = {build: self._reached(applied) for build, applied in checkpoints.items()}
            now = clock()
            ages = [None if at is None else now - at for at in reached.values()]
            await _write(connection, list(checkpoints), ages, now - looked, heads)
        self._forget(None if None in reached.values() else min((at for at in reached.values() if at), default=looked))

    def _reached(self, applied: _Heads) -> float | None:
        """The last moment seen whose facts are all applied; None where it was before all that is remembered."""
        for at, heads in reversed(self._seen):
            if all(applied.get(partition, 0) >= seq for partition, seq in heads.items()):
                return at
        return None

    def _forget(self, reached: float | None) -> None:
        """Forget what every build has left behind."""
        while reached is not None and self._seen[0][0] < reached:
            self._seen.popleft()


async def _checkpoints(connection: Connection) -> dict[tuple[str, int], dict[int, int]]:
    rows = await connection.fetch(
        "select model, build, partition, seq from read.checkpoints join read.builds using (model, build) order by 1, 2"
    )
    found: dict[tuple[str, int], dict[int, int]] = {}
    for model, build, partition, seq in rows:
        found.setdefault((model, build), {})[partition] = seq
    return found


async def _write(
    connection: Connection, builds: list[tuple[str, int]], ages: list[float | None], looked: float, heads: _Heads
) -> None:
    async with connection.transaction():
        # Of use only while it is fresh, so that it need not wait for the disk.
        await connection.execute("set local synchronous_commit = off")
        await connection.execute(
            """insert into read.heartbeats as h (model, build, heads, at_head_at, seen_at)
               select model, build, $4::jsonb, coalesce(now() - make_interval(secs => age), created_at),
                 now() - make_interval(secs => $5)
               from unnest($1::text[], $2::int[], $3::float8[]) as n (model, build, age)
               join read.builds using (model, build) order by model, build
               on conflict (model, build) do update set heads = excluded.heads, seen_at = excluded.seen_at,
                 at_head_at = greatest(h.at_head_at, excluded.at_head_at)""",
            [model for model, _ in builds],
            [build for _, build in builds],
            ages,
            msgspec.json.encode(heads).decode(),
            looked,
        )
