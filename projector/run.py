"""Follows the log: reads, applies, moves the checkpoint; rows and checkpoint in one transaction."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import asyncpg
import structlog
from prometheus_client import CollectorRegistry

from myevents.errors import MyEventsError
from myevents.log.port import Log
from myevents.log.store import PASSING
from myevents.telemetry.read_models import Following
from projector import builds
from projector.bookings import Bookings
from projector.events import Events
from projector.faults import AT_FAULT, reason_of
from projector.locations import Locations
from projector.model import Connection, ReadModel, traceparents_of
from projector.patience import COLLISIONS
from schema.facts import RecordedFact, UnreadableFact
from schema.read_tables import CHECKPOINTS_CHANNEL

NAME: Final = "read models"
"""What they are called together, as a follower of the log."""

BATCH: Final = 1000
"""Facts applied in one transaction."""

POLL: Final = 2.0
"""Seconds between two looks at the log when no notice comes."""

_log = structlog.get_logger()


def read_models() -> tuple[ReadModel, ...]:
    """All of them."""
    return (Events(), Locations(), Bookings())


def sharing(models: Sequence[ReadModel]) -> str:
    """The name of those who share the log's partitions out: of one version, as each keeps up its own builds alone."""
    return f"projector.{'-'.join(str(model.version) for model in models)}"


async def make_first_builds(pool: asyncpg.Pool, models: Sequence[ReadModel], partitions: int) -> None:
    """Make builds of the models that have none yet, and with them the views that queries read."""
    async with pool.acquire(timeout=5) as connection:
        for model in models:
            version = await builds.ensure_live(connection, model, partitions)
            if version != model.version:
                # A rolling upgrade: code of that version keeps it up, until a rebuild swaps.
                _log.warning("another_version_serves", model=model.name, serves=version, ours=model.version)


class Projector:
    """Keeps read models up to date. Several may run: a checkpoint's lock lets one at a time go on from it."""

    def __init__(
        self,
        *,
        log: Log,
        pool: asyncpg.Pool,
        models: Sequence[ReadModel] | None = None,
        following: Following | None = None,
    ) -> None:
        self._log = log
        self._pool = pool
        self._models = read_models() if models is None else models
        self._following = following or Following(CollectorRegistry())

    async def prepare(self) -> None:
        """Make the first builds where there are none."""
        await make_first_builds(self._pool, self._models, self._log.partitions)

    async def run(self) -> None:
        """Follow the log until cancelled; what passes by itself is waited for."""
        while True:
            try:
                await self.prepare()
                while True:
                    if not await self.catch_up():
                        await self._log.changed(POLL)
            except (*PASSING, *COLLISIONS) as error:
                _log.warning("projector_waits", reason=type(error).__name__)
                await asyncio.sleep(random.uniform(0.1, 1.0))

    async def catch_up(self) -> int:
        """Apply all that is in the log now and ours to apply; how many facts that was, over all models and builds."""
        checkpoints = await self._checkpoints()
        lowest: dict[int, int] = {}
        for _, _, partition, seq in checkpoints:
            lowest[partition] = min(seq, lowest.get(partition, seq))
        ahead = await self._log.ahead(lowest)
        self._following.stands(
            NAME, {(model, build, number): (seq, ahead.get(number, 0)) for model, build, number, seq in checkpoints}
        )
        # A model that fails holds up neither the others nor, where it is not the database's doing, other partitions.
        done = await asyncio.gather(
            *(self._catch_up(model, checkpoints, ahead) for model in self._models), return_exceptions=True
        )
        for each in done:
            if isinstance(each, BaseException):
                raise each
        self._following.turned(NAME)
        return sum(each for each in done if isinstance(each, int))

    async def _checkpoints(self) -> list[tuple[str, int, int, int]]:
        """Model, build, partition and seq of the builds of this code's version: others have tables it does not know."""
        async with self._pool.acquire(timeout=5) as connection:
            rows = await connection.fetch(
                """select model, build, partition, seq from read.checkpoints join read.builds using (model, build)
                   where (model, version) in (select * from unnest($1::text[], $2::int[]))
                     and state in ('live', 'old')""",
                [model.name for model in self._models],
                [model.version for model in self._models],
            )
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    async def _catch_up(
        self, model: ReadModel, checkpoints: Sequence[tuple[str, int, int, int]], ahead: Mapping[int, int]
    ) -> int:
        """Bring up the builds of one model, all its partitions before an error of one of them is raised."""
        applied, unforeseen = 0, list[Exception]()
        for _, build, partition, seq in [checkpoint for checkpoint in checkpoints if checkpoint[0] == model.name]:
            try:
                applied += await self._catch_up_partition(model, build, partition, seq, ahead.get(partition, 0))
            except PASSING:
                raise
            except Exception as error:
                # Also of one whose checkpoint is locked, as by a retry of what is parked.
                unforeseen.append(error)
        if unforeseen:
            raise unforeseen[0]
        return applied

    async def _catch_up_partition(self, model: ReadModel, build: int, partition: int, seq: int, head: int) -> int:
        """Bring a build from `seq` to `head`; the number of facts applied."""
        applied = 0
        while seq < head:
            facts = await self._log.read(partition, seq, BATCH)
            if not facts:
                break
            begun = time.time_ns()
            seq = await self._apply(model, build, partition, facts)
            applied += len(facts)
            self._following.applied(NAME, model.name, len(facts), traceparents_of(facts), begun)
        return applied

    async def _apply(
        self, model: ReadModel, build: int, partition: int, facts: Sequence[RecordedFact | UnreadableFact]
    ) -> int:
        """Apply a batch; the checkpoint after it, also where another process was quicker."""
        try:
            return await self._moved(model, build, partition, facts, _at_once)
        except (_Unreadable, *AT_FAULT):
            return await self._moved(model, build, partition, facts, _one_by_one)

    async def _moved(
        self,
        model: ReadModel,
        build: int,
        partition: int,
        facts: Sequence[RecordedFact | UnreadableFact],
        apply: Callable[[Connection, ReadModel, int, Sequence[RecordedFact | UnreadableFact]], Awaitable[None]],
    ) -> int:
        """Rows and checkpoint stand or fall together, so that neither needs to wait for the disk."""
        async with self._pool.acquire(timeout=5) as connection, connection.transaction():
            seq: int | None = await connection.fetchval(
                """select seq, set_config('synchronous_commit', 'off', true) from read.checkpoints
                   where model = $1 and build = $2 and partition = $3 for update""",
                model.name,
                build,
                partition,
            )
            if seq is None:
                # The build was dropped meanwhile: nothing of it has to be brought up.
                return facts[-1].seq
            if seq != facts[0].seq - 1:
                return seq
            # A statement of its own: what was parked while the lock was waited for is seen.
            parked = await self._parked(connection, model, build)
            await apply(connection, model, build, [fact for fact in facts if fact.stream_id not in parked])
            head = facts[-1].seq
            await connection.execute(
                """with moved as (update read.checkpoints set seq = $4, applied_at = now()
                     where model = $1 and build = $2 and partition = $3 returning seq)
                   select pg_notify($5, concat_ws(':', $1::text, $3::int, seq)) from moved""",
                model.name,
                build,
                partition,
                head,
                CHECKPOINTS_CHANNEL,
            )
            return head

    async def _parked(self, connection: Connection, model: ReadModel, build: int) -> set[str]:
        rows = await connection.fetch(
            "select stream_id from read.parked_streams where model = $1 and build = $2", model.name, build
        )
        return {row[0] for row in rows}


class _Unreadable(MyEventsError):
    """A fact that this code cannot read is among those to apply."""


async def _at_once(
    connection: Connection, model: ReadModel, build: int, facts: Sequence[RecordedFact | UnreadableFact]
) -> None:
    """Apply the whole batch; raises where one of its facts cannot be applied."""
    readable = [fact for fact in facts if isinstance(fact, RecordedFact)]
    if len(readable) != len(facts):
        raise _Unreadable
    await model.apply(connection, build, readable)


async def _one_by_one(
    connection: Connection, model: ReadModel, build: int, facts: Sequence[RecordedFact | UnreadableFact]
) -> None:
    """Apply what can be, and park the stream of each fact that cannot."""
    parked: set[str] = set()
    for fact in facts:
        if fact.stream_id in parked:
            continue
        reason = fact.reason if isinstance(fact, UnreadableFact) else None
        if isinstance(fact, RecordedFact):
            try:
                async with connection.transaction():
                    await model.apply(connection, build, [fact])
            except AT_FAULT as error:
                reason = reason_of(error)
        if reason is not None:
            parked.add(fact.stream_id)
            _log.error("stream_parked", model=model.name, stream=fact.stream_id, seq=fact.seq, reason=reason)
            await connection.execute(
                """insert into read.parked_streams (model, build, stream_id, partition, seq, reason)
                   values ($1, $2, $3, $4, $5, $6)""",
                model.name,
                build,
                fact.stream_id,
                fact.partition,
                fact.seq,
                reason,
            )
