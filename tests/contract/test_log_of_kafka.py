"""A topic may repeat facts, lose them, get them late, and carry rubbish: whoever follows it notices nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from uuid import uuid4

import msgspec

from myevents.log import consuming
from myevents.log.kafka import KafkaLog
from myevents.store import open_pool
from projector.bookings import Bookings
from projector.events import Events
from projector.run import Projector, sharing
from schema.envelope import seal
from schema.tables import PARTITIONS
from tests.contract.test_log import FACTS, HERE, Logs, empty_topic, seqs, stored
from tests.e2e.served import until
from tests.integration.test_versions import NewEvents
from tests.topics import TestTopic

__all__ = ["empty_topic", "stored"]

ALL = list(range(1, FACTS + 1))


def carried(logs: Logs) -> tuple[TestTopic, KafkaLog]:
    """The topic, and the log that follows it."""
    assert logs.topic is not None
    assert isinstance(logs.log, KafkaLog)
    return logs.topic, logs.log


async def test_a_range_that_comes_again_is_dropped(empty_topic: Logs) -> None:
    topic, log = carried(empty_topic)
    for after, limit in ((0, 200), (100, 100), (50, 200), (200, 100)):
        await topic.copy(empty_topic.store, HERE, after, limit)
    assert seqs(await empty_topic.followed(0, FACTS)) == ALL
    assert log.irregularities.repeated == 300
    assert log.irregularities.holes == log.irregularities.filled == 0


async def test_a_hole_is_filled_from_the_store_and_what_fills_it_later_is_dropped(empty_topic: Logs) -> None:
    topic, log = carried(empty_topic)
    await topic.copy(empty_topic.store, HERE, 0, 100)
    await topic.copy(empty_topic.store, HERE, 150)
    assert seqs(await empty_topic.followed(0, FACTS)) == ALL
    assert (log.irregularities.holes, log.irregularities.filled) == (1, 50)
    await topic.copy(empty_topic.store, HERE, 100, 50)
    empty_topic.sent = FACTS
    await empty_topic.append(1)
    assert seqs(await empty_topic.followed(FACTS, FACTS + 1)) == [FACTS + 1]
    assert (log.irregularities.holes, log.irregularities.repeated) == (1, 50)


async def test_records_that_are_no_facts_are_replaced_by_the_store_s(empty_topic: Logs) -> None:
    topic, log = carried(empty_topic)
    await topic.copy(empty_topic.store, HERE, 0, 100)
    (misplaced,) = await empty_topic.store.read_envelopes(HERE, 100, 1)
    other = (HERE + 1) % PARTITIONS
    await topic.send(
        HERE, [b"", b"{}", b"\xff", seal(misplaced).replace(f'"partition":{HERE}'.encode(), b'"partition":99')]
    )
    await topic.send(other, [seal(misplaced)])
    await topic.copy(empty_topic.store, HERE, 101)
    assert seqs(await empty_topic.followed(0, FACTS)) == ALL
    assert log.irregularities.malformed >= 1


async def test_rubbish_at_the_end_of_the_topic_hides_no_fact(empty_topic: Logs) -> None:
    topic, _ = carried(empty_topic)
    await topic.copy(empty_topic.store, HERE, 0, FACTS - 1)
    await topic.send(HERE, [b"rubbish"])
    assert seqs(await empty_topic.followed(0, FACTS)) == ALL


async def test_a_topic_made_anew_is_followed_from_its_start_or_filled_up(empty_topic: Logs) -> None:
    topic, log = carried(empty_topic)
    # It was filled from the middle on, and from the start by who noticed.
    await topic.copy(empty_topic.store, HERE, 200)
    await topic.copy(empty_topic.store, HERE, 0, 200)
    assert seqs(await empty_topic.followed(50, FACTS)) == ALL[50:]
    assert log.irregularities.holes == 1


async def test_facts_are_handed_over_no_faster_than_they_are_taken(empty_topic: Logs) -> None:
    topic, log = carried(empty_topic)
    many = 3 * consuming.ROOM
    await empty_topic.append(many - FACTS, carried=False)
    await topic.copy(empty_topic.store, HERE, 0)
    await empty_topic.followed(0, 1)
    await asyncio.sleep(1.5)
    assert (await log.ahead({HERE: 0}))[HERE] <= consuming.ROOM + 2000
    assert seqs(await empty_topic.followed(0, many)) == list(range(1, many + 1))
    assert log.irregularities.holes == 0


async def test_a_partition_that_had_to_wait_goes_on_also_when_another_one_came_first(empty_topic: Logs) -> None:
    topic, log = carried(empty_topic)
    many, other = 3 * consuming.ROOM, (HERE + 1) % PARTITIONS
    await empty_topic.append(many - FACTS, carried=False)
    await topic.copy(empty_topic.store, HERE, 0)
    checkpoints = {HERE: 0, other: 0}
    async with asyncio.timeout(30):
        while (await log.ahead(checkpoints)).get(HERE, 0) < consuming.ROOM:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    await topic.send(other, [b"rubbish"])
    async with asyncio.timeout(30):
        while not log.irregularities.malformed:
            await log.ahead(checkpoints)
            await asyncio.sleep(0.1)
    assert seqs(await empty_topic.followed(0, many)) == list(range(1, many + 1))
    assert log.irregularities.holes == 0


async def test_two_members_share_the_partitions_and_the_one_that_stays_takes_all(
    empty_topic: Logs, stack: AsyncExitStack
) -> None:
    topic, _ = carried(empty_topic)
    group = f"test.{uuid4().hex}"
    one, other = (KafkaLog(store=empty_topic.store, address=topic.address, group=group) for _ in range(2))
    stack.push_async_callback(other.close)
    checkpoints = dict.fromkeys(range(PARTITIONS), 0)

    async def come_to(*shares: int) -> None:
        logs = (one, other)[: len(shares)] if len(shares) == 2 else (other,)
        async with asyncio.timeout(30):
            while [len(await log.ahead(checkpoints)) for log in logs] != list(shares):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    try:
        await come_to(8, 8)
        ours = Counter([*await one.ahead(checkpoints), *await other.ahead(checkpoints)])
        assert ours == Counter(range(PARTITIONS))
    finally:
        await one.close()
    await come_to(16)


async def test_without_a_group_each_reader_has_all_partitions(empty_topic: Logs, stack: AsyncExitStack) -> None:
    topic, _ = carried(empty_topic)
    await topic.copy(empty_topic.store, HERE, 0)
    for _ in range(2):
        log = KafkaLog(store=empty_topic.store, address=topic.address, group=None)
        stack.push_async_callback(log.close)
        reader = Logs(empty_topic.pool, empty_topic.store, log, topic)
        assert seqs(await reader.followed(0, FACTS)) == ALL
        assert len(await log.ahead(dict.fromkeys(range(PARTITIONS), FACTS))) == PARTITIONS


async def test_while_the_store_is_away_what_kafka_has_is_followed_all_the_same(
    empty_topic: Logs, database_url: str, stack: AsyncExitStack
) -> None:
    topic, log = carried(empty_topic)
    read_models = await open_pool(database_url)
    stack.push_async_callback(read_models.close)
    projector = Projector(log=log, pool=read_models)
    await projector.prepare()
    await topic.copy(empty_topic.store, HERE, 0, 200)
    heads = await log.seen()
    empty_topic.pool.terminate()

    async def applied() -> bool:
        await projector.catch_up()
        return bool(
            await read_models.fetchval("select min(seq) from read.checkpoints where partition = $1", HERE) == 200
        )

    await until(applied)
    # How far behind that is is known all the same.
    assert await log.seen() == heads
    assert heads[HERE] == FACTS


async def test_while_the_store_is_away_a_hole_holds_up_its_own_partition_alone(empty_topic: Logs) -> None:
    topic, log = carried(empty_topic)
    other = (HERE + 1) % PARTITIONS
    (fact,) = await empty_topic.store.read_envelopes(HERE, 0, 1)
    await topic.copy(empty_topic.store, HERE, 0, 100)
    await topic.copy(empty_topic.store, HERE, 150)
    await topic.send(other, [seal(msgspec.structs.replace(fact, partition=other))])
    empty_topic.pool.terminate()

    async def come() -> bool:
        ahead = await log.ahead({HERE: 0, other: 0})
        return (ahead.get(HERE), ahead.get(other)) == (100, 1)

    await until(come)
    assert log.irregularities.holes == 1


async def test_projectors_of_two_versions_follow_all_partitions_each(empty_topic: Logs, stack: AsyncExitStack) -> None:
    topic, _ = carried(empty_topic)
    await topic.copy(empty_topic.store, HERE, 0)
    old, new = sharing([Events(), Bookings()]), sharing([NewEvents(), Bookings()])
    logs = []
    for version in (old, new):
        group = f"{topic.address.topic}.{version}"
        logs.append(KafkaLog(store=empty_topic.store, address=topic.address, group=group))
        stack.push_async_callback(logs[-1].close)
    readers = [Logs(empty_topic.pool, empty_topic.store, log, topic) for log in logs]
    for facts in await asyncio.gather(*(reader.followed(0, FACTS) for reader in readers)):
        assert seqs(facts) == ALL
    assert [len(await log.ahead(dict.fromkeys(range(PARTITIONS), FACTS))) for log in logs] == [PARTITIONS] * 2
