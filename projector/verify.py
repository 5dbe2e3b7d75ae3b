"""Holds the log and the read models against what is promised of them, also while bookings go on.

All that is read of the read models is read in one transaction, as of one moment: the live builds, how far each has
come, and its rows. Facts never change, so the log is then folded exactly that far, partition by partition, wherever
the store is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from myevents.log.port import Log
from myevents.log.store import GapInLog
from projector.audit import Audited, audit
from projector.faults import FOLD_FAULTS, reason_of
from projector.fold import FOLDS, KINDS, Fold
from projector.model import Connection, UnfitFact
from schema.facts import RecordedFact, UnreadableFact
from schema.read_tables import MODELS

_BATCH: Final = 2000
_ATTEMPTS: Final = 5
_SECONDS: Final = 600.0


class Findings(Struct, frozen=True):
    """`problems` are breaches of what is promised; `behind` tells what the read models have still to apply."""

    problems: list[str]
    behind: list[str]


class _Live(Struct):
    """A live build as of the moment: how far it has come, and where each parked stream stopped."""

    model: str
    build: int
    checkpoints: dict[int, int]
    parked: dict[str, int]
    fold: Fold
    unfit: dict[str, str] = {}

    def take(self, fact: RecordedFact) -> None:
        """Fold in a fact if the build has applied it."""
        stream = fact.stream_id
        if fact.seq > self.checkpoints.get(fact.partition, 0) or stream in self.unfit:
            return
        if stream in self.parked and fact.seq >= self.parked[stream]:
            return
        try:
            self.fold.take(fact)
        except FOLD_FAULTS as error:
            named = isinstance(error, UnfitFact)
            self.unfit[stream] = reason_of(error) if named else f"{fact.position} of {stream}: {reason_of(error)}"


async def verify(*, log: Log, pool: asyncpg.Pool, store: asyncpg.Pool | None = None, strict: bool = False) -> list[str]:
    """Every breach in a sentence, none on a healthy system; `strict` takes lag for a breach as well.

    `pool` is of the read models' database, `store` of that of the facts, where it is another one.
    """
    found = await examine(log=log, pool=pool, store=store)
    return found.problems + (found.behind if strict else [])


async def examine(*, log: Log, pool: asyncpg.Pool, store: asyncpg.Pool | None = None) -> Findings:
    """What is wrong as of one moment, and what is merely not applied yet."""
    for _ in range(_ATTEMPTS):
        try:
            async with (
                pool.acquire(timeout=5) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await _examined(connection, log, store or pool)
        except asyncpg.UndefinedTableError:
            # A rebuild has swapped, and its old build was dropped, between our looking it up and our locking it.
            continue
    raise TimeoutError("the read models are rebuilt faster than they can be read")


async def _examined(connection: Connection, log: Log, store: asyncpg.Pool) -> Findings:
    await connection.execute("set local idle_in_transaction_session_timeout = 0")
    lives = await _live_builds(connection)
    heads = await log.heads()
    problems: list[str] = []
    versions: dict[str, int] = {}
    for partition, head in sorted(heads.items()):
        problems += await _partition(log, partition, head, lives, versions)
    unfit = {stream: reason for live in lives for stream, reason in live.unfit.items()}
    problems += [f"The log does not fold: {reason}." for reason in unfit.values()]
    for live in lives:
        for table, expected in live.fold.tables().items():
            problems += await _rows(connection, table, live.build, KINDS[table], expected)
    problems += await _audited(connection, store, lives)
    problems += await _parked(connection)
    behind, beyond = await _lag(connection, heads)
    return Findings(problems + beyond, behind)


async def _audited(connection: Connection, store: asyncpg.Pool, lives: Sequence[_Live]) -> list[str]:
    builds = [Audited(live.model, live.build, live.checkpoints, live.parked) for live in lives]
    async with (
        store.acquire(timeout=5) as facts,
        facts.transaction(isolation="repeatable_read", readonly=True),
    ):
        await facts.execute("set local idle_in_transaction_session_timeout = 0")
        return await audit(facts, connection, builds)


async def _live_builds(connection: Connection) -> list[_Live]:
    """The live builds of the models that have a fold, their tables held against being dropped."""
    builds = await connection.fetch(
        "select model, build from read.builds where state = 'live' and model = any($1) order by model", list(FOLDS)
    )
    lives = []
    for model, build in builds:
        for table in MODELS[model]:
            await connection.execute(f"lock table read.{table.name}_{build:d} in access share mode")
        checkpoints = await connection.fetch(
            "select partition, seq from read.checkpoints where model = $1 and build = $2", model, build
        )
        parked = await connection.fetch(
            "select stream_id, seq from read.parked_streams where model = $1 and build = $2", model, build
        )
        live = _Live(model, build, _pairs(checkpoints), _pairs(parked), FOLDS[model]())
        lives.append(live)
    return lives


def _pairs(rows: Sequence[asyncpg.Record]) -> dict[Any, Any]:
    return {row[0]: row[1] for row in rows}


async def _partition(
    log: Log, partition: int, head: int, lives: Sequence[_Live], versions: dict[str, int]
) -> list[str]:
    """Read a partition up to its head, checking that neither seqs nor versions have gaps, and fold what is applied."""
    problems: list[str] = []
    seq = 0
    while seq < head:
        try:
            facts = await log.read(partition, seq, min(_BATCH, head - seq))
        except GapInLog as gap:
            return [*problems, f"The log has a gap: {gap}."]
        if not facts:
            return [*problems, f"Partition {partition} ends at {seq}, but its head is {head}."]
        for fact in facts:
            problems += _in_order(fact, versions)
            if isinstance(fact, RecordedFact):
                for live in lives:
                    live.take(fact)
        seq = facts[-1].seq
    if await log.read(partition, head, 1) and (await log.heads())[partition] == head:
        problems.append(f"Partition {partition} has facts beyond its head {head}.")
    return problems


def _in_order(fact: RecordedFact | UnreadableFact, versions: dict[str, int]) -> list[str]:
    problems = []
    expected = versions.get(fact.stream_id, 0) + 1
    if fact.version != expected:
        problems.append(f"Stream {fact.stream_id} goes from version {expected - 1} to {fact.version}.")
    versions[fact.stream_id] = fact.version
    if isinstance(fact, UnreadableFact):
        problems.append(f"Fact {fact.partition}:{fact.seq} cannot be read: {fact.reason}.")
    return problems


async def _rows(
    connection: Connection, table: str, build: int, kind: type[Any], expected: dict[str, Struct]
) -> list[str]:
    """How a build's table differs from the rows `expected`, which are used up: only one side is held in memory."""
    problems = []
    # The events model keeps a place for a location that is named before its facts have come.
    where = " where location is not null" if table == "event_locations" else ""
    statement = f"select id, to_jsonb(t) from read.{table}_{build:d} t{where}"
    async for key, data in connection.cursor(statement, prefetch=1000, timeout=_SECONDS):
        row = expected.pop(key, None)
        if row is None:
            problems.append(f"{table} has {key}, which the log does not.")
            continue
        try:
            found = msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            problems.append(f"{table} {key} cannot be read: {error}.")
            continue
        if row != found:
            wrong = [name for name in kind.__struct_fields__ if getattr(row, name) != getattr(found, name)]
            problems.append(f"{table} {key} differs from the log in {', '.join(wrong)}.")
    return sorted(problems) + [f"{table} lacks {missing}." for missing in sorted(expected)]


async def _parked(connection: Connection) -> list[str]:
    rows = await connection.fetch(
        """select model, stream_id, reason from read.parked_streams join read.builds using (model, build)
           where state = 'live' order by 1, 2"""
    )
    return [f"{row[0]} has parked {row[1]}: {row[2]}." for row in rows]


async def _lag(connection: Connection, heads: Mapping[int, int]) -> tuple[list[str], list[str]]:
    """What has not come to the log's heads, and what claims to have gone beyond them."""
    rows = await connection.fetch(
        """select model, partition, seq from read.checkpoints join read.builds using (model, build)
           where state = 'live' order by 1, 2"""
    )
    missing = sorted(FOLDS.keys() - {row[0] for row in rows})
    behind = [f"{model} has not come to be yet." for model in missing]
    beyond: list[str] = []
    for model, partition, seq in rows:
        head = heads.get(partition, 0)
        if seq != head:
            (behind if seq < head else beyond).append(f"{model} has come to {partition}:{seq}, the log to {head}.")
    return behind, beyond
