"""Which relay leads which partition: rows in PostgreSQL, by its clock, with an epoch that fences off whoever sleeps.

Relays that live share the partitions out. A lease that is not renewed falls to another one; who held it may wake up
and send what was sent already, which readers drop, but moves no cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import asyncpg
from msgspec import Struct

LEASE: Final = 3.0
"""Seconds for which a lease is good."""

RENEWAL: Final = 1.0
"""Seconds between two renewals."""

_ANNOUNCE: Final = """
insert into relays as r (relay, expires_at) values ($1, now() + make_interval(secs => $2))
on conflict (relay) do update set expires_at = excluded.expires_at
"""

_FORGET: Final = "delete from relays where expires_at < now() - interval '1 minute'"

_LIVING: Final = "select relay from relays where expires_at > now() order by relay"

_RENEW: Final = """
with held as (
  select l.partition from relay_leases l
  join unnest($2::smallint[], $3::bigint[]) as n (partition, epoch) on n.partition = l.partition and n.epoch = l.epoch
  where l.holder = $1 order by l.partition for update of l
)
update relay_leases l set expires_at = now() + make_interval(secs => $4)
from held where held.partition = l.partition returning l.partition
"""

_TAKE: Final = """
with free as (
  select partition from relay_leases
  where (holder is null or holder = $1 or expires_at < now()) and partition <> all($2::smallint[])
  order by partition limit $3 for update skip locked
)
update relay_leases l
set holder = $1, epoch = l.epoch + 1, expires_at = now() + make_interval(secs => $4),
  seq = case when l.topic_id = $5 then l.seq else 0 end, topic_id = $5
from free, relay_leases before
where free.partition = l.partition and before.partition = l.partition
returning l.partition, l.epoch, l.seq, before.topic_id is distinct from $5 and before.seq > 0
"""

# What is forgotten in a crash is sent again, so that it need not wait for the disk.
_MOVE: Final = """
with quick as materialized (select set_config('synchronous_commit', 'off', true)), held as (
  select l.partition, n.seq from quick cross join relay_leases l
  join unnest($2::smallint[], $3::bigint[], $4::bigint[]) as n (partition, epoch, seq)
    on n.partition = l.partition and n.epoch = l.epoch
  where l.holder = $1 order by l.partition for update of l
)
update relay_leases l set seq = held.seq from held where held.partition = l.partition returning l.partition
"""

_GIVE_UP: Final = """
with held as (
  select l.partition from relay_leases l
  join unnest($2::smallint[], $3::bigint[]) as n (partition, epoch) on n.partition = l.partition and n.epoch = l.epoch
  where l.holder = $1 order by l.partition for update of l
)
update relay_leases l set holder = null, expires_at = '-infinity' from held where held.partition = l.partition
"""


class Lease(Struct, frozen=True, kw_only=True):
    """The right to lead a partition, and where the one before had come to; `anew` where the topic is another one."""

    partition: int
    epoch: int
    seq: int
    anew: bool


class Shared(Struct, frozen=True, kw_only=True):
    """What one look at the leases brought: those that are still ours, those that are new, and how many we may have."""

    kept: frozenset[int]
    taken: list[Lease]
    share: int


class Leases:
    """The leases of one relay, known by a name that no other has."""

    def __init__(self, *, pool: asyncpg.Pool, relay: str, partitions: int) -> None:
        self._pool = pool
        self._relay = relay
        self._partitions = partitions
        # One statement after the other, so that two of them never wait for each other's rows.
        self._turn = asyncio.Lock()

    async def share_out(self, held: Mapping[int, int], topic_id: str) -> Shared:
        """Say that we live, renew what we hold (epochs by partition), and take what is free up to our share."""
        # Statements by themselves, not a transaction: a process that is stopped in the middle then locks nothing.
        async with self._turn, self._pool.acquire(timeout=5) as connection:
            await connection.execute(_ANNOUNCE, self._relay, LEASE)
            await connection.execute(_FORGET)
            living = [row[0] for row in await connection.fetch(_LIVING)]
            rank = sum(relay < self._relay for relay in living)
            share = share_of(rank, max(1, len(living)), self._partitions)
            kept = await connection.fetch(_RENEW, self._relay, list(held), list(held.values()), LEASE)
            ours = [row[0] for row in kept]
            taken = await connection.fetch(_TAKE, self._relay, ours, max(0, share - len(ours)), LEASE, topic_id)
        return Shared(
            kept=frozenset(ours),
            taken=[Lease(partition=row[0], epoch=row[1], seq=row[2], anew=row[3]) for row in taken],
            share=share,
        )

    async def move(self, cursors: Mapping[int, tuple[int, int]]) -> frozenset[int]:
        """Move cursors, (epoch, seq) by partition; those that were moved: the others are not ours any more."""
        epochs = [epoch for epoch, _ in cursors.values()]
        seqs = [seq for _, seq in cursors.values()]
        async with self._turn, self._pool.acquire(timeout=5) as connection:
            rows = await connection.fetch(_MOVE, self._relay, list(cursors), epochs, seqs)
        return frozenset(row[0] for row in rows)

    async def give_up(self, held: Mapping[int, int], *, leaving: bool = False) -> None:
        """Let others lead those partitions at once; `leaving` also ends our part in the sharing."""
        async with self._turn, self._pool.acquire(timeout=5) as connection:
            await connection.execute(_GIVE_UP, self._relay, list(held), list(held.values()))
            if leaving:
                await connection.execute("delete from relays where relay = $1", self._relay)


def share_of(rank: int, relays: int, partitions: int) -> int:
    """How many partitions the relay of that rank, counted from 0, leads."""
    return partitions // relays + (rank < partitions % relays)
