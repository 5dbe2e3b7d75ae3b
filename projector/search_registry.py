"""The index's place among the read models in the database: its checkpoints as told, its parked streams, its lock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import structlog
from msgspec import Struct

from projector.model import Connection
from schema.read_tables import CHECKPOINTS_CHANNEL

NAME: Final = "search"
"""What the index is called among the read models."""

VERSION: Final = 1

FOLLOWERS_WAIT: Final = 2.0
"""Seconds that who follows the log waits for his turn, before he waits for the next one."""

UPKEEP_WAIT: Final = 60.0
"""Seconds that a command waits for its turn: a round takes long where much is to be taken in, or the index is slow."""

_DEADLINE: Final = 5.0
_log = structlog.get_logger()


class Parked(Struct, frozen=True):
    """A stream that is set aside from the fact that cannot be taken on, and why."""

    stream_id: str
    partition: int
    seq: int
    reason: str


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


async def set_aside(connection: Connection) -> dict[str, str]:
    """The streams that the index that serves has parked, and why."""
    rows = await connection.fetch("select stream_id, reason from read.parked_streams where model = $1", NAME)
    return {row[0]: row[1] for row in rows}


async def park(connection: Connection, parked: Parked) -> None:
    """Set a stream aside, once."""
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
