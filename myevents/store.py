"""The facts in PostgreSQL: locking a partition's head, reading what is newer, appending a round in one statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog
from msgspec import Struct

from schema import codec
from schema.facts import SCHEMA_VERSIONS, Fact, Metadata
from schema.sessions import SESSION_SETTINGS
from schema.tables import APP_ROLE, SERVICE_ROLES

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

_APPEND = """
with appended as (
  insert into facts (partition, seq, stream_id, version, type, schema_version, data, metadata, recorded_at)
  select $1, * from unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::smallint[],
                           $7::jsonb[], $8::jsonb[], $9::timestamptz[])
), remembered as (
  insert into command_answers (key_hash, scope, body_hash, answer, recorded_at)
  select * from unnest($10::bytea[], $11::smallint[], $12::bytea[], $13::bytea[], $14::timestamptz[])
  on conflict do nothing returning key_hash
)
update heads set seq = $15 where partition = $1 returning (select array_agg(key_hash) from remembered)
"""

_FORGET: Final = (
    """with old as (
         select key_hash, scope from command_answers where recorded_at < now() - $1::interval
         order by recorded_at limit $2 for update skip locked
       ), gone as (
         delete from command_answers a using old where a.key_hash = old.key_hash and a.scope = old.scope returning 1
       ) select count(*) from gone""",
    """with old as (
         select user_id, key from idempotency where recorded_at < now() - $1::interval
         order by recorded_at limit $2 for update skip locked
       ), gone as (
         delete from idempotency i using old where i.user_id = old.user_id and i.key = old.key returning 1
       ) select count(*) from gone""",
)

EVERYWHERE: Final = -1
"""The scope of an answer whose key can be taken by one partition alone: that of a command that creates its stream."""


_log = structlog.get_logger()


class NewFact(Struct, frozen=True, kw_only=True):
    """A fact on its way into the log."""

    stream_id: str
    version: int
    fact: Fact
    metadata: Metadata
    recorded_at: datetime


class RememberedAnswer(Struct, frozen=True, kw_only=True):
    """The answer of an accepted command under the hash of the key that its caller gave it.

    `scope` is the partition, so that rounds of different partitions never wait for each other's keys, or `EVERYWHERE`.
    """

    key_hash: bytes
    scope: int
    body_hash: bytes
    answer: bytes
    recorded_at: datetime


class UnreadableStreams(Exception):
    """Streams with facts that this code cannot read: newer code wrote them, or they are malformed."""

    def __init__(self, streams: Collection[str]) -> None:
        super().__init__(", ".join(sorted(streams)))
        self.streams = streams


class KeyRaced(Exception):
    """Other rounds remembered some of the keys first: roll back and decide again."""

    def __init__(self, key_hashes: Collection[bytes]) -> None:
        super().__init__(f"{len(key_hashes)} keys")
        self.key_hashes = key_hashes


async def open_pool(
    dsn: str, *, role: str = APP_ROLE, size: int = 8, session: Mapping[str, str] | None = None
) -> asyncpg.Pool:
    """Return connections that act as `role`, with a deadline on every statement and lock.

    `session` has further settings of PostgreSQL for each connection.

    A border that is only where the login is that role: another login, which must be a member of it, may take its own
    rights back at any time. Where a service has such a login, that is warned of once.
    """
    warned = role not in SERVICE_ROLES

    async def act_as_role(connection: asyncpg.Connection) -> None:
        nonlocal warned
        login, _ = (await connection.fetch("select session_user, set_config('role', $1, false)", role))[0]
        if login != role and not warned:
            warned = True
            _log.warning("database_role_is_owner", login=login, role=role)

    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=5,
        command_timeout=10,
        setup=None,
        init=act_as_role,
        reset=_keep,
        server_settings={
            **SESSION_SETTINGS,
            "application_name": "myevents",
            "lock_timeout": "2000",
            "idle_in_transaction_session_timeout": "10000",
            "jit": "off",
            **(session or {}),
        },
    )


async def _keep(connection: asyncpg.Connection) -> None:
    """Leave the session as it is: rounds change nothing in it, and RESET ALL would cost a round trip."""


async def lock_head(connection: Connection, partition: int) -> int:
    """The seq of the partition's last fact; nobody else appends to it until this transaction ends."""
    seq: int = await connection.fetchval("select seq from heads where partition = $1 for update", partition)
    return seq


async def facts_newer_than(connection: Connection, versions: dict[str, int]) -> list[tuple[str, int, Fact]]:
    """The facts of those streams above those versions, in order: (stream, version, fact).

    Raises `UnreadableStreams`.
    """
    rows = await connection.fetch(
        """select f.stream_id, f.version, f.type, f.schema_version, f.data
           from unnest($1::text[], $2::bigint[]) as have (stream_id, version)
           join facts f on f.stream_id = have.stream_id and f.version > have.version
           order by f.stream_id, f.version""",
        list(versions),
        list(versions.values()),
    )
    facts: list[tuple[str, int, Fact]] = []
    unreadable: set[str] = set()
    for stream, version, name, schema_version, data in rows:
        try:
            facts.append((stream, version, codec.decode(name, schema_version, data)))
        except codec.UnknownFact:
            unreadable.add(stream)
    if unreadable:
        raise UnreadableStreams(unreadable)
    return facts


async def remembered(connection: Connection, keys: Mapping[bytes, tuple[str, str]]) -> dict[bytes, tuple[bytes, bytes]]:
    """What is remembered by key hash: the hash of the body, and the answer; `keys` has user and key of each hash.

    Where a key was used in several partitions, the first use counts. The release before stored user and key as they
    came: those answers are found too, until they are forgotten.
    """
    rows = await connection.fetch(
        """select key_hash, body_hash, answer, recorded_at from command_answers where key_hash = any($1::bytea[])
           union all
           select wanted.key_hash, i.body_hash, i.answer, i.recorded_at
           from unnest($1::bytea[], $2::text[], $3::text[]) as wanted (key_hash, user_id, key)
           join idempotency i using (user_id, key)
           order by recorded_at desc""",
        list(keys),
        [user for user, _ in keys.values()],
        [key for _, key in keys.values()],
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def forget_answers(connection: Connection, age: timedelta, limit: int) -> int:
    """Delete up to `limit` remembered answers that are older than `age`, and as many of the release before.

    Returns the larger of the two numbers.
    """
    gone: list[int] = [await connection.fetchval(statement, age, limit) for statement in _FORGET]
    return max(gone)


async def append(
    connection: Connection, partition: int, head: int, facts: Sequence[NewFact], answers: Sequence[RememberedAnswer]
) -> int:
    """Add facts after `head`, remember answers, move the head, in one statement; the new head.

    Raises `KeyRaced` where keys were taken meanwhile; the transaction must then be rolled back.
    """
    new_head = head + len(facts)
    # In one order everywhere, so that rounds that wait for each other's keys wait in a line.
    answers = sorted(answers, key=lambda answer: answer.key_hash)
    names = [codec.type_name(new.fact) for new in facts]
    stored = await connection.fetchval(
        _APPEND,
        partition,
        list(range(head + 1, new_head + 1)),
        [new.stream_id for new in facts],
        [new.version for new in facts],
        names,
        [SCHEMA_VERSIONS[name] for name in names],
        [codec.encode(new.fact).decode() for new in facts],
        [codec.encode(new.metadata).decode() for new in facts],
        [new.recorded_at for new in facts],
        [answer.key_hash for answer in answers],
        [answer.scope for answer in answers],
        [answer.body_hash for answer in answers],
        [answer.answer for answer in answers],
        [answer.recorded_at for answer in answers],
        new_head,
    )
    raced = {answer.key_hash for answer in answers}.difference(stored or ())
    if raced:
        raise KeyRaced(raced)
    return new_head


async def snapshot(connection: Connection, stream_id: str, schema_version: int) -> tuple[int, bytes] | None:
    """The newest snapshot of a stream's state as (version, state), None where there is none of that schema."""
    row = await connection.fetchrow(
        "select version, state from snapshots where stream_id = $1 and schema_version = $2", stream_id, schema_version
    )
    return (row[0], row[1]) if row else None


async def save_snapshot(
    connection: Connection, stream_id: str, version: int, schema_version: int, state: bytes
) -> None:
    """Keep a stream's state, unless a newer one is kept already."""
    await connection.execute(
        """insert into snapshots as s (stream_id, version, schema_version, state) values ($1, $2, $3, $4)
           on conflict (stream_id) do update
           set version = excluded.version, schema_version = excluded.schema_version, state = excluded.state
           where s.version < excluded.version or s.schema_version <> excluded.schema_version""",
        stream_id,
        version,
        schema_version,
        state,
    )
