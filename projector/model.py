"""What every read model is to the projector, and the two statements by which rows come and go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import asyncpg
import msgspec

from myevents.errors import MyEventsError
from schema.facts import RecordedFact, UnreadableFact

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Row = TypeVar("Row", bound=msgspec.Struct)


class UnfitFact(MyEventsError):
    """A fact that cannot follow what a read model has of its stream."""

    def __init__(self, fact: RecordedFact, reason: str) -> None:
        super().__init__(f"{fact.position} {type(fact.fact).__name__} of {fact.stream_id}: {reason}")
        self.stream_id = fact.stream_id


class ReadModel(Protocol):
    """Facts in, rows out."""

    name: str
    version: int

    async def apply(self, connection: Connection, build: int, facts: Sequence[RecordedFact]) -> None:
        """Bring facts of one partition, in order, into the tables of `build`; raises `projector.faults.AT_FAULT`."""

    async def forget(self, connection: Connection, build: int, stream_id: str) -> None:
        """Delete the rows that `build` has of a stream, so that all its facts can be applied again."""


async def load(connection: Connection, table: str, kind: type[Row], ids: Collection[str]) -> dict[str, Row]:
    """The rows of those ids, locked in order of id until the transaction ends."""
    rows = await connection.fetch(
        f"select id, to_jsonb(t) from read.{table} t where id = any($1) order by id for update", sorted(ids)
    )
    return {row[0]: msgspec.json.decode(row[1], type=kind) for row in rows}


async def upsert(connection: Connection, table: str, rows: Sequence[msgspec.Struct]) -> None:
    """Write rows whole, many in one statement."""
    if not rows:
        return
    columns = rows[0].__struct_fields__
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column != "id")
    await connection.execute(
        f"insert into read.{table} as t ({', '.join(columns)})"
        f" select {', '.join(columns)} from jsonb_populate_recordset(null::read.{table}, $1::jsonb)"
        f" on conflict (id) do update set {changes}",
        msgspec.json.encode(rows).decode(),
    )


def traceparents_of(facts: Iterable[RecordedFact | UnreadableFact]) -> Iterator[str]:
    """The traces that facts belong to."""
    for fact in facts:
        if isinstance(fact, RecordedFact) and fact.metadata.traceparent is not None:
            yield fact.metadata.traceparent


def follows(version: int, fact: RecordedFact) -> None:
    """Raise `UnfitFact` unless `fact` is the one after `version` in its stream."""
    if fact.version != version + 1:
        raise UnfitFact(fact, f"version {fact.version} cannot follow {version}")
