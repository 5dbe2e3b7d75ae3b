"""Builds a read model anew beside the live one, compares the two, and swaps; the old one stays until dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from myevents.errors import MyEventsError
from myevents.log.port import Log
from projector import builds
from projector.faults import AT_FAULT, reason_of
from projector.model import Connection, ReadModel
from projector.patience import patiently
from projector.run import Projector
from schema.facts import RecordedFact, UnreadableFact
from schema.read_tables import MODELS, READ_SCHEMA

BATCH: Final = 5000
"""Facts applied in one transaction: folded in memory, each row is written once a batch."""

_WORKERS: Final = 4
_SHOWN: Final = 20
_SECONDS: Final = 600.0

Progress = Callable[[int, int], None]


class RebuildStopped(MyEventsError):
    """The rebuild cannot go on, and the live model serves as before; the message says why."""


class BuildsDiffer(RebuildStopped):
    """The new build is not what the live one is; `differences` names rows, at most 20 of them."""

    def __init__(self, model: str, differences: list[str]) -> None:
        super().__init__(f"{model}: not swapped, for the builds differ in {'; '.join(differences)}")
        self.differences = differences


async def rebuild(
    model: ReadModel, log: Log, pool: asyncpg.Pool, progress: Progress, *, force: bool = False
) -> list[str]:
    """Replay the log into a new build and let it serve; `progress` gets the facts done and all of them.

    Goes on where a killed rebuild stopped. Returns the differences that `force` overruled; without it, raises
    `BuildsDiffer`. Raises `RebuildStopped`, naming the fact, where one cannot be read or applied.
    """
    async with _alone(pool, model):
        # The live build first: the new one is compared with it, and is never ahead of it.
        projector = Projector(log=log, pool=pool, models=(model,))
        await projector.prepare()
        await patiently(projector.catch_up)
        async with pool.acquire(timeout=5) as connection:
            build = await _building(connection, model, log.partitions)
            targets = await _checkpoints(connection, model, await _live(connection, model))
        await _bring(model, build, log, pool, targets, progress)
        return await patiently(lambda: _swap(model, build, log, pool, compare=True, force=force))


async def go_back(model: ReadModel, log: Log, pool: asyncpg.Pool) -> None:
    """Let the newest old build serve again, as of now; raises `RebuildStopped` where there is none of this version."""
    async with _alone(pool, model):
        build = await pool.fetchval(
            "select max(build) from read.builds where model = $1 and state = 'old' and version = $2",
            model.name,
            model.version,
        )
        if build is None:
            raise RebuildStopped(f"{model.name} has no old build to go back to")
        await patiently(lambda: _swap(model, build, log, pool, compare=False, force=True))


async def drop_old(model: ReadModel, pool: asyncpg.Pool) -> list[int]:
    """Drop the old builds, after which there is no going back; the numbers of those dropped."""
    async with _alone(pool, model), pool.acquire(timeout=5) as connection, connection.transaction():
        rows = await connection.fetch(
            "select build from read.builds where model = $1 and state = 'old' order by build", model.name
        )
        for row in rows:
            await _drop(connection, model, row[0])
        return [row[0] for row in rows]


@asynccontextmanager
async def _alone(pool: asyncpg.Pool, model: ReadModel) -> AsyncIterator[None]:
    """One rebuild of a model at a time; the lock ends with the process that held it."""
    key = f"myevents rebuild {model.name}"
    async with pool.acquire(timeout=5) as connection:
        if not await connection.fetchval("select pg_try_advisory_lock(hashtext($1))", key):
            raise RebuildStopped(f"{model.name} is being rebuilt by somebody else")
        try:
            yield
        finally:
            if not connection.is_closed():
                await connection.execute("select pg_advisory_unlock(hashtext($1))", key)


async def _building(connection: Connection, model: ReadModel, partitions: int) -> int:
    """The build to fill: the unfinished one of this version, or a new one."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtext('myevents builds'))")
        rows = await connection.fetch(
            "select build, version from read.builds where model = $1 and state = 'building'", model.name
        )
        for row in rows:
            if row["version"] == model.version:
                return int(row["build"])
            await _drop(connection, model, row["build"])
        last = await connection.fetchval("select max(build) from read.builds where model = $1", model.name)
        await builds.create(connection, model, last + 1, partitions, state="building")
        return int(last) + 1


async def _drop(connection: Connection, model: ReadModel, build: int) -> None:
    # The checkpoints first, as whoever applies facts does: waiting for them with the tables in hand is a deadlock.
    for registry in ("checkpoints", "parked_streams", "builds"):
        await connection.execute(
            f"delete from {READ_SCHEMA}.{registry} where model = $1 and build = $2", model.name, build
        )
    for table in MODELS[model.name]:
        await connection.execute(f"drop table if exists {READ_SCHEMA}.{table.name}_{build:d}")


async def _live(connection: Connection, model: ReadModel) -> int:
    build: int = await connection.fetchval(
        "select build from read.builds where model = $1 and state = 'live'", model.name
    )
    return build


async def _checkpoints(connection: Connection, model: ReadModel, build: int, lock: str = "") -> dict[int, int]:
    rows = await connection.fetch(
        f"select partition, seq from read.checkpoints where model = $1 and build = $2 order by partition {lock}",
        model.name,
        build,
    )
    return {row[0]: row[1] for row in rows}


async def _bring(
    model: ReadModel, build: int, log: Log, pool: asyncpg.Pool, targets: Mapping[int, int], progress: Progress
) -> None:
    """Apply facts to a build until it has come to `targets` in every partition."""
    async with pool.acquire(timeout=5) as connection:
        done = await _checkpoints(connection, model, build)
    turns = asyncio.Semaphore(_WORKERS)
    total = sum(targets.values())

    async def follow(partition: int) -> None:
        while done[partition] < targets[partition]:
            async with turns:
                facts = await log.read(partition, done[partition], min(BATCH, targets[partition] - done[partition]))
                if not facts:
                    raise RebuildStopped(f"the log ends at {partition}:{done[partition]}, before {targets[partition]}")
                await _apply(model, build, pool, facts)
            done[partition] = facts[-1].seq
            progress(sum(done.values()), total)

    progress(sum(done.values()), total)
    try:
        async with asyncio.TaskGroup() as group:
            for partition in targets:
                group.create_task(follow(partition))
    except* RebuildStopped as stopped:
        raise stopped.exceptions[0] from None


async def _apply(model: ReadModel, build: int, pool: asyncpg.Pool, facts: list[RecordedFact | UnreadableFact]) -> None:
    for fact in facts:
        if isinstance(fact, UnreadableFact):
            raise RebuildStopped(f"{model.name}: fact {fact.partition}:{fact.seq} cannot be read: {fact.reason}")
    readable = [fact for fact in facts if isinstance(fact, RecordedFact)]

    async def at_once() -> None:
        async with pool.acquire(timeout=5) as connection, connection.transaction():
            await _apply_in(connection, model, build, readable)

    try:
        await patiently(at_once)
    except MyEventsError as error:
        raise RebuildStopped(f"{model.name}: {error}{_span(readable)}") from error
    except AT_FAULT as error:
        culprit = await _culprit(model, build, pool, readable)
        raise RebuildStopped(f"{model.name}: {culprit or reason_of(error)}{_span(readable)}") from error


def _span(facts: list[RecordedFact]) -> str:
    return f" (in the facts {facts[0].position} to {facts[-1].position})"


async def _culprit(model: ReadModel, build: int, pool: asyncpg.Pool, facts: list[RecordedFact]) -> str | None:
    """The first fact that cannot be applied, with its stream and the reason; applies one by one, and rolls back."""
    async with pool.acquire(timeout=5) as connection:
        attempt = connection.transaction()
        await attempt.start()
        try:
            for fact in facts:
                try:
                    await _apply_in(connection, model, build, [fact])
                except AT_FAULT as error:
                    return f"{fact.position} {type(fact.fact).__name__} of {fact.stream_id}: {reason_of(error)}"
        finally:
            await attempt.rollback()
    return None


async def _apply_in(connection: Connection, model: ReadModel, build: int, facts: list[RecordedFact]) -> None:
    # Rows and checkpoint stand or fall together, so neither needs to wait for the disk.
    await connection.execute("set local synchronous_commit = off")
    moved = await connection.fetchval(
        """update read.checkpoints set seq = $4, applied_at = now()
           where model = $1 and build = $2 and partition = $3 and seq = $5 returning seq""",
        model.name,
        build,
        facts[0].partition,
        facts[-1].seq,
        facts[0].seq - 1,
    )
    if moved is None:
        # Only an old build has another writer, the projector; what it has applied already is not applied again.
        seq = await connection.fetchval(
            "select seq from read.checkpoints where model = $1 and build = $2 and partition = $3 for update",
            model.name,
            build,
            facts[0].partition,
        )
        later = [fact for fact in facts if fact.seq > seq]
        if later:
            await _apply_in(connection, model, build, later)
        return
    parked = {
        row[0]
        for row in await connection.fetch(
            "select stream_id from read.parked_streams where model = $1 and build = $2", model.name, build
        )
    }
    await model.apply(connection, build, [fact for fact in facts if fact.stream_id not in parked])


async def _swap(model: ReadModel, build: int, log: Log, pool: asyncpg.Pool, *, compare: bool, force: bool) -> list[str]:
    """Hold the live build where it is, bring the other one there, compare, and let it serve."""
    async with pool.acquire(timeout=5) as connection, connection.transaction():
        await connection.execute("set local idle_in_transaction_session_timeout = 0")
        await connection.execute("select pg_advisory_xact_lock(hashtext('myevents builds'))")
        live = await _live(connection, model)
        # The projector waits from here on, queries do not; nobody sees the model go back in time.
        targets = await _checkpoints(connection, model, live, "for update")
        await _bring(model, build, log, pool, targets, lambda _done, _total: None)
        differences = await _differences(connection, model, live, build) if compare else []
        if differences and not force:
            raise BuildsDiffer(model.name, differences)
        await builds.show(connection, model, build)
        await connection.execute(
            """update read.builds set state = case build when $2 then 'live' else 'old' end
               where model = $1 and build in ($2, $3)""",
            model.name,
            build,
            live,
        )
        return differences


async def _differences(connection: Connection, model: ReadModel, live: int, build: int) -> list[str]:
    """Rows that the two builds do not share, in the columns that both have; at most 20."""
    # The model's own memory beside its rows may differ: placeholders come by batches.
    table = MODELS[model.name][0]
    columns = await connection.fetch(
        """select column_name from information_schema.columns where table_schema = $1 and table_name = any($2)
           group by 1 having count(*) = 2 order by 1""",
        READ_SCHEMA,
        [f"{table.name}_{live:d}", f"{table.name}_{build:d}"],
    )
    ours, theirs = (", ".join(f'{side}."{row[0]}"' for row in columns) for side in "on")
    rows = await connection.fetch(
        f"""select coalesce(o.id, n.id), o.id is null, n.id is null
            from {READ_SCHEMA}.{table.name}_{live:d} o full join {READ_SCHEMA}.{table.name}_{build:d} n
            on n.id = o.id where row({ours}) is distinct from row({theirs}) order by 1 limit {_SHOWN}""",
        timeout=_SECONDS,
    )
    return [
        f"{table.name} {key} {'only in the new build' if new else 'only in the live build' if old else 'changed'}"
        for key, new, old in rows
    ]
