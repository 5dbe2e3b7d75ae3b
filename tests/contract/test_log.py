"""Both logs, the store itself and a topic of Kafka, are followed the same way."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import asyncpg
import pytest

from myevents.log.kafka import KafkaLog
from myevents.log.port import Log
from myevents.log.store import StoreLog
from myevents.store import open_pool
from schema.facts import EventPublished, RecordedFact, UnreadableFact
from schema.ids import partition_of
from schema.tables import FACTS_CHANNEL, PARTITIONS
from tests.history import record
from tests.integration.nonsense import append_nonsense
from tests.samples import CREATED
from tests.topics import TestTopic, given_kafka, topic

EVENT = "evt_a"
HERE = partition_of(EVENT, PARTITIONS)
FACTS = 300


class Logs:
    """A store with facts of one partition, and the log under test."""

    def __init__(self, pool: asyncpg.Pool, store: StoreLog, log: Log, topic: TestTopic | None) -> None:
        self.pool = pool
        self.store = store
        self.log = log
        self.topic = topic
        self.sent = 0

    async def append(self, count: int, *, carried: bool = True) -> None:
        """Record more facts of the event, and let the topic carry all that it lacks."""
        await self.pool.execute(_APPEND, HERE, EVENT, count)
        await self.pool.execute(_TELL)
        if carried and self.topic is not None:
            self.sent = await self.topic.copy(self.store, HERE, self.sent)

    async def followed(self, after: int, last: int, *, step: int = 1000) -> list[RecordedFact | UnreadableFact]:
        """Follow the partition from `after` until the fact `last` is there; all that was read."""
        facts: list[RecordedFact | UnreadableFact] = []
        seq = after
        async with asyncio.timeout(30):
            while seq < last:
                ahead = await self.log.ahead({HERE: seq})
                read = await self.log.read(HERE, seq, step) if ahead.get(HERE, 0) > seq else []
                facts += read
                seq = facts[-1].seq if facts else after
                if not read:
                    await self.log.changed(1)
        return facts


_APPEND = """
with head as (update heads set seq = seq + $3 where partition = $1 returning seq - $3 as before)
insert into facts (partition, seq, stream_id, version, type, schema_version, data, metadata, recorded_at)
select $1, before + n, $2, before + n, 'EventPublished', 1, '{}', '{"commandId": "cmd_test"}', now()
from head, generate_series(1, $3::int) as n
"""
_TELL = f"notify {FACTS_CHANNEL}"


@pytest.fixture
async def stored(database_url: str, stack: AsyncExitStack) -> Logs:
    """A store with facts, which is the log."""
    await record(database_url, [(EVENT, CREATED), *[(EVENT, EventPublished())] * (FACTS - 1)])
    pool = await open_pool(database_url)
    stack.push_async_callback(pool.close)
    store = StoreLog(pool, PARTITIONS)
    stack.push_async_callback(store.close)
    return Logs(pool, store, store, None)


@pytest.fixture
async def empty_topic(stored: Logs, stack: AsyncExitStack) -> Logs:
    """The same, followed by an empty topic."""
    stored.topic = await stack.enter_async_context(topic(given_kafka()))
    stored.log = KafkaLog(store=stored.store, address=stored.topic.address, group=f"test.{uuid4().hex}")
    stack.push_async_callback(stored.log.close)
    return stored


@pytest.fixture(params=["store", "kafka"])
async def logs(request: pytest.FixtureRequest, stored: Logs, stack: AsyncExitStack) -> Logs:
    """Each of the logs in turn, with all facts."""
    if request.param == "kafka":
        stored.topic = await stack.enter_async_context(topic(given_kafka()))
        stored.log = KafkaLog(store=stored.store, address=stored.topic.address, group=f"test.{uuid4().hex}")
        stack.push_async_callback(stored.log.close)
        stored.sent = await stored.topic.copy(stored.store, HERE, 0)
    return stored


def seqs(facts: list[RecordedFact | UnreadableFact]) -> list[int]:
    """Their places."""
    return [fact.seq for fact in facts]


@pytest.mark.parametrize("after", [0, 1, 150, FACTS - 1])
async def test_it_is_followed_from_any_checkpoint_on_without_a_gap(logs: Logs, after: int) -> None:
    facts = await logs.followed(after, FACTS, step=37)
    assert seqs(facts) == list(range(after + 1, FACTS + 1))
    assert all(isinstance(fact, RecordedFact) and fact.stream_id == EVENT for fact in facts)


async def test_who_has_everything_is_told_of_what_comes(logs: Logs) -> None:
    await logs.followed(0, FACTS)
    assert (await logs.log.ahead({HERE: FACTS})).get(HERE) == FACTS
    assert await logs.log.read(HERE, FACTS) == []
    for round_ in range(5):
        waiting = asyncio.create_task(logs.followed(FACTS + 2 * round_, FACTS + 2 * round_ + 2))
        await asyncio.sleep(0.05)
        await logs.append(2)
        assert len(await waiting) == 2


async def test_it_tells_the_same_fact_and_the_same_heads_as_the_store(logs: Logs) -> None:
    assert await logs.followed(0, FACTS) == await logs.store.read(HERE, 0)
    assert await logs.log.heads() == {**dict.fromkeys(range(PARTITIONS), 0), HERE: FACTS}
    assert seqs(await logs.log.read_stream(EVENT, 290)) == list(range(291, FACTS + 1))


async def test_a_reader_may_go_back_and_may_have_been_overtaken(logs: Logs) -> None:
    await logs.followed(100, 200)
    assert seqs(await logs.followed(20, 60))[:40] == list(range(21, 61))
    assert seqs(await logs.followed(250, FACTS)) == list(range(251, FACTS + 1))
    if isinstance(logs.log, KafkaLog):
        assert logs.log.irregularities.holes == 0


async def test_a_fact_that_nobody_can_read_is_told_as_such_and_hides_nothing(logs: Logs, database_url: str) -> None:
    await append_nonsense(database_url, "evt_a")
    await logs.append(3)
    facts = await logs.followed(FACTS, FACTS + 4)
    assert [type(fact).__name__ for fact in facts] == ["UnreadableFact", *["RecordedFact"] * 3]
    assert seqs(facts) == list(range(FACTS + 1, FACTS + 5))
