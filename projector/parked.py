"""Streams that were set aside because of a fact that could not be applied: lists them, and applies them again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from myevents.errors import MyEventsError
from myevents.log.port import Log
from projector.faults import AT_FAULT, reason_of
from projector.model import Connection, ReadModel, UnfitFact
from projector.patience import patiently
from schema.facts import RecordedFact, UnreadableFact

BATCH: Final = 1000
"""Facts applied at once; all of a retry is one transaction."""


class ParkedStream(Struct, frozen=True, kw_only=True, rename="camel"):
    """A stream of which `build` of `model` has applied nothing from `seq` on, and why."""

    model: str
    build: int
    version: int
    stream_id: str
    partition: int
    seq: int
    reason: str
    parked_at: datetime


class _Unreadable(MyEventsError):
    """A fact that this code cannot read."""


async def parked_streams(pool: asyncpg.Pool, model: str | None = None, stream: str | None = None) -> list[ParkedStream]:
    """What is parked in builds that are kept up, or so much of it as is of that model and stream."""
    rows = await pool.fetch(
        """select model, build, version, stream_id, partition, seq, reason, parked_at
           from read.parked_streams join read.builds using (model, build)
           where state in ('live', 'old') and ($1::text is null or model = $1) and ($2::text is null or stream_id = $2)
           order by model, build, parked_at, stream_id""",
        model,
        stream,
    )
    return [ParkedStream(**dict(row)) for row in rows]


async def retry(parked: ParkedStream, model: ReadModel, log: Log, pool: asyncpg.Pool) -> str | None:
    """Apply what the build lacks of the stream, all of it or nothing; None, or why it stays parked.

    Rows of the stream that cannot be read are deleted, and all its facts applied from the first one on.

    May be done while projectors run: it holds the checkpoint of the stream's partition, and so do they.
    """
    if parked.version != model.version:
        return f"the build is of version {parked.version}, and this code writes version {model.version}"

    async def at_once() -> str | None:
        async with pool.acquire(timeout=5) as connection, connection.transaction():
            await connection.execute("set local idle_in_transaction_session_timeout = 0")
            head = await _held(connection, parked)
            if head is None:
                return None
            reason = await _applied(connection, parked, model, log, head)
            await _noted(connection, parked, reason)
            return reason

    return await patiently(at_once)


async def _held(connection: Connection, parked: ParkedStream) -> int | None:
    """The seq that the build has come to, kept there; None where somebody else was quicker with this stream."""
    head: int | None = await connection.fetchval(
        "select seq from read.checkpoints where model = $1 and build = $2 and partition = $3 for update",
        parked.model,
        parked.build,
        parked.partition,
    )
    still = await connection.fetchval(
        "select 1 from read.parked_streams where model = $1 and build = $2 and stream_id = $3 for update",
        parked.model,
        parked.build,
        parked.stream_id,
    )
    return head if still else None


async def _applied(connection: Connection, parked: ParkedStream, model: ReadModel, log: Log, head: int) -> str | None:
    (first,) = await log.read(parked.partition, parked.seq - 1, 1)
    try:
        await _apply_after(connection, parked, model, log, first.version - 1, head)
    except (_Unreadable, UnfitFact) as error:
        return str(error)
    except AT_FAULT:
        try:
            await _apply_after(connection, parked, model, log, 0, head)
        except _Unreadable as error:
            return str(error)
        except AT_FAULT as error:
            return reason_of(error)
    return None


async def _apply_after(
    connection: Connection, parked: ParkedStream, model: ReadModel, log: Log, version: int, head: int
) -> None:
    """Apply the stream's facts after `version` up to the seq `head`; after 0, in place of the rows that there are."""
    async with connection.transaction():
        if version == 0:
            await model.forget(connection, parked.build, parked.stream_id)
        async for facts in _facts(log, parked.stream_id, version, head):
            await model.apply(connection, parked.build, facts)


async def _facts(log: Log, stream_id: str, version: int, head: int) -> AsyncIterator[list[RecordedFact]]:
    """The stream's facts after `version` up to the seq `head`, in batches."""
    while True:
        facts = [fact for fact in await log.read_stream(stream_id, version, BATCH) if fact.seq <= head]
        if not facts:
            return
        version = facts[-1].version
        for fact in facts:
            if isinstance(fact, UnreadableFact):
                raise _Unreadable(f"{fact.partition}:{fact.seq} cannot be read: {fact.reason}")
        yield [fact for fact in facts if isinstance(fact, RecordedFact)]


async def _noted(connection: Connection, parked: ParkedStream, reason: str | None) -> None:
    where = "where model = $1 and build = $2 and stream_id = $3"
    key = (parked.model, parked.build, parked.stream_id)
    if reason is None:
        await connection.execute(f"delete from read.parked_streams {where}", *key)
    else:
        await connection.execute(f"update read.parked_streams set reason = $4 {where}", *key, reason)
