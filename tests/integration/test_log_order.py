"""Readers of the log never pass a fact that is not committed, and never miss one."""

from __future__ import annotations

import asyncio

import asyncpg

from myevents.log.store import StoreLog
from myevents.store import open_pool
from schema.ids import partition_of
from schema.tables import PARTITIONS
from tests.command_side import an_event, book, command_side

_INSERT = """insert into facts (partition, seq, stream_id, version, type, schema_version, data, metadata, recorded_at)
             values ($1, $2, 'evt_slow', 1, 'EventPublished', 1, '{}', '{"commandId": "cmd_slow"}', now())"""


async def held_open(connection: asyncpg.Connection, partition: int) -> int:
    """Append a fact to the partition as a writer does, without an end; its seq."""
    seq: int = await connection.fetchval("select seq from heads where partition = $1 for update", partition)
    await connection.execute(_INSERT, partition, seq + 1)
    await connection.execute("update heads set seq = $2 where partition = $1", partition, seq + 1)
    return seq + 1


async def seqs(log: StoreLog, partition: int) -> list[int]:
    """What a reader sees."""
    return [fact.seq for fact in await log.read(partition, 0)]


async def test_a_transaction_held_open_makes_later_writers_wait_and_readers_see_neither(database_url: str) -> None:
    slow = await asyncpg.connect(database_url)
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    async with command_side(database_url) as service:
        event = await an_event(service)
        partition = partition_of(event, PARTITIONS)
        before = await seqs(log, partition)
        for commits in (True, False):
            transaction = slow.transaction()
            await transaction.start()
            held = (
                await held_open(slow, partition)
                if commits
                else await slow.fetchval("update heads set seq = seq + 1 where partition = $1 returning seq", partition)
            )
            waiting = asyncio.create_task(book(service, event, 1))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            assert await seqs(log, partition) == before
            await (transaction.commit() if commits else transaction.rollback())
            booked = await waiting
            # Committed, its seq is taken and ours is the next; rolled back, it was never there.
            assert booked.position == f"{partition}:{held + 1 if commits else held}"
            before = await seqs(log, partition)
            assert before == list(range(1, len(before) + 1))
    await log.close()
    await pool.close()
    await slow.close()


async def test_a_reader_that_follows_two_writers_sees_every_fact_once_and_in_order(database_url: str) -> None:
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    seen: list[int] = []
    async with command_side(database_url) as one, command_side(database_url) as other:
        event = await an_event(one, capacity=600)
        partition = partition_of(event, PARTITIONS)

        async def follow() -> None:
            while len(seen) < 602:
                facts = await log.read(partition, seen[-1] if seen else 0, 37)
                seen.extend(fact.seq for fact in facts)
                if not facts:
                    await log.changed(0.5)

        async def buy(number: int) -> None:
            await asyncio.sleep(number * 0.0005)
            await book((one, other)[number % 2], event, 1)

        async with asyncio.timeout(30):
            await asyncio.gather(follow(), *(buy(number) for number in range(600)))
    assert seen == list(range(1, 603))
    await log.close()
    await pool.close()


async def test_a_reader_whose_connection_broke_listens_again(database_url: str) -> None:
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    other = await asyncpg.connect(database_url)
    for _ in range(2):
        await log.changed(0.1)
        listening = "select count(*) from pg_stat_activity where datname = current_database() and query like 'LISTEN%'"
        assert await other.fetchval(listening) == 1
        await other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await asyncio.sleep(0.2)
    await other.close()
    await log.close()
    await pool.close()
