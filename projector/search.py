"""The search index as a consumer of the log, of its own: neither it nor the read models wait for each other."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry

from myevents.log.port import Log
from myevents.search.port import SearchBuilds, SearchIndex, SearchUnavailable
from myevents.telemetry.read_models import Following
from projector import events, locations
from projector.model import Connection, UnfitFact, traceparents_of
from schema.facts import EventCreated, EventMoved, LocationFact, RecordedFact, UnreadableFact
from schema.read_models import EventRow, LocationRow
from schema.read_tables import CHECKPOINTS_CHANNEL

NAME: Final = "search"
"""What the index is called among the read models."""

VERSION: Final = 1

BATCH: Final = 5000
"""Facts written in one commit."""

PAUSE: Final = 0.1
"""Seconds between two commits: each waits for the disk some 15 times."""

LONGEST_REST: Final = 2.0
"""Seconds of rest at most: a round that took long may have been one of a process that was stopped meanwhile."""

POLL: Final = 2.0
"""Seconds between two looks at the log when no notice comes."""

FOLLOWERS_WAIT: Final = 2.0
"""Seconds that who follows the log waits for his turn, before he waits for the next one."""

UPKEEP_WAIT: Final = 60.0
"""Seconds that a command waits for its turn: a round takes long where much is to be taken in, or the index is slow."""

_DEADLINE: Final = 5.0
_log = structlog.get_logger()
_PASSING: Final = (
    OSError,
    SearchUnavailable,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
)


class Parked(Struct, frozen=True):
    """A stream that is set aside from the fact that cannot be taken on, and why."""

    stream_id: str
    partition: int
    seq: int
    reason: str


class Taken(Struct, frozen=True, kw_only=True):
    """What a round brought into the index; where there was nothing to take, its checkpoints are not told."""

    facts: int
    traceparents: list[str]
    checkpoints: dict[int, int]
    parked: list[Parked]


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
                parked_before = await parked_streams(connection)
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
                    await _park(connection, parked)
                await tell(connection, taken.checkpoints)
            if not taken.facts:
                self._following.turned(NAME)
                return done
            self._following.applied(NAME, NAME, taken.facts, taken.traceparents, begun)
            done += taken.facts


def rest_after(taken: float, share: float) -> float:
    """Seconds to rest after commits that took that long, `share` of it, so that much else is done by this machine."""
    return min(max(PAUSE, share * taken), LONGEST_REST)


@asynccontextmanager
async def alone(pool: asyncpg.Pool, *, wait: float = FOLLOWERS_WAIT) -> AsyncIterator[Connection]:
    """One writer of the index that serves at a time, and no swap meanwhile; ends with the process that held it.

    Raises `asyncpg.LockNotAvailableError` after `wait` seconds.
    """
    async with pool.acquire(timeout=_DEADLINE) as connection, connection.transaction():
        await connection.execute(
            "select set_config('idle_in_transaction_session_timeout', '0', true), set_config('lock_timeout', $1, true)",
            f"{wait:.0f}s",
        )
        await connection.execute("select pg_advisory_xact_lock(hashtext('myevents search'))", timeout=wait + _DEADLINE)
        yield connection


async def parked_streams(connection: Connection) -> set[str]:
    """The streams that the index that serves has set aside."""
    rows = await connection.fetch("select stream_id from read.parked_streams where model = $1", NAME)
    return {row[0] for row in rows}


async def tell(connection: Connection, checkpoints: Mapping[int, int]) -> None:
    """Let the read models' registry say how far the index that serves has come."""
    await connection.execute(
        """insert into read.checkpoints as c (model, build, partition, seq)
           select $1, 1, p, s from unnest($2::int[], $3::bigint[]) as t (p, s)
           on conflict (model, build, partition) do update set seq = excluded.seq, applied_at = now()
           where c.seq <> excluded.seq""",
        NAME,
        list(checkpoints),
        list(checkpoints.values()),
    )
    await connection.execute(
        "select pg_notify($1, $2 || ':' || p || ':' || s) from unnest($3::int[], $4::bigint[]) as t (p, s)",
        CHECKPOINTS_CHANNEL,
        NAME,
        list(checkpoints),
        list(checkpoints.values()),
    )


async def _park(connection: Connection, parked: Parked) -> None:
    _log.error("stream_parked", model=NAME, stream=parked.stream_id, seq=parked.seq, reason=parked.reason)
    await connection.execute(
        """insert into read.parked_streams (model, build, stream_id, partition, seq, reason)
           values ($1, 1, $2, $3, $4, $5) on conflict do nothing""",
        NAME,
        parked.stream_id,
        parked.partition,
        parked.seq,
        parked.reason,
    )


async def take(
    index: SearchIndex, log: Log, heads: Mapping[int, int], parked: Collection[str], *, batch: int = BATCH
) -> Taken:
    """Bring up to `batch` facts, none beyond `heads`, into the index, rows first, then checkpoints.

    What another process wrote and could not finish does no harm: facts that a row has are passed over, and every
    row in hand is placed anew.
    """
    checkpoints = await index.checkpoints()
    facts: list[RecordedFact | UnreadableFact] = []
    moved: dict[int, int] = {}
    for partition, head in heads.items():
        seq = checkpoints.get(partition, 0)
        if seq < head and len(facts) < batch:
            read = await log.read(partition, seq, min(batch - len(facts), head - seq))
            facts += read
            moved[partition] = read[-1].seq if read else seq
    if not facts:
        return Taken(facts=0, traceparents=[], checkpoints={}, parked=[])
    folding = await _folding(index, [fact for fact in facts if fact.stream_id not in parked])
    await index.write(list(folding.events.values()), list(folding.moved.values()), moved, since=checkpoints)
    # All of them: an index that was lost meanwhile is behind in every partition.
    everywhere = {partition: checkpoints.get(partition, 0) for partition in heads} | moved
    return Taken(
        facts=len(facts),
        traceparents=[*traceparents_of(facts)],
        checkpoints=everywhere,
        parked=list(folding.parked.values()),
    )


class _Folding(Struct):
    """Rows in hand: events, the locations known to place them in, those of them that changed, streams set aside."""

    events: dict[str, EventRow]
    known: dict[str, LocationRow]
    moved: dict[str, LocationRow]
    parked: dict[str, Parked]

    def take(self, fact: RecordedFact | UnreadableFact) -> None:
        """Fold one more fact in, or set its stream aside."""
        if fact.stream_id in self.parked:
            return
        try:
            if isinstance(fact, UnreadableFact):
                self._park(fact, fact.reason)
            elif isinstance(fact.fact, LocationFact):
                place = self.known.get(fact.stream_id)
                if place is None or place.version < fact.version:
                    place = locations.fold(place, fact)
                self.known[fact.stream_id] = self.moved[fact.stream_id] = place
            else:
                row = self.events.get(fact.stream_id)
                if row is None or row.version < fact.version:
                    self.events[fact.stream_id] = events.fold(row, fact)
        except UnfitFact as error:
            self._park(fact, str(error))

    def _park(self, fact: RecordedFact | UnreadableFact, reason: str) -> None:
        self.parked[fact.stream_id] = Parked(fact.stream_id, fact.partition, fact.seq, reason)


async def _folding(index: SearchIndex, facts: Sequence[RecordedFact | UnreadableFact]) -> _Folding:
    """Fold facts of any partitions onto what the index has; every event stands in its location as it is then."""
    rows = await index.events({fact.stream_id for fact in facts if fact.stream_id.startswith("evt_")})
    places = {fact.stream_id for fact in facts if fact.stream_id.startswith("loc_")}
    places |= {row.location_id for row in rows.values() if row.location_id is not None}
    for fact in facts:
        content = fact.fact if isinstance(fact, RecordedFact) else None
        if isinstance(content, EventCreated | EventMoved) and content.location_id is not None:
            places.add(content.location_id)
    folding = _Folding(rows, await index.locations(places), {}, {})
    for fact in facts:
        folding.take(fact)
    for row in await index.events_at(folding.moved):
        folding.events.setdefault(row.id, row)
    for row in folding.events.values():
        folding.events[row.id] = events.placed(row, folding.known.get(row.location_id or ""))
    return folding
