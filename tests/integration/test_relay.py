"""Every fact reaches Kafka, in order in its partition, whoever relays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from command.relay.leases import Leases
from command.relay.run import Relay
from command.relay.schedule import EVERY, AuditSchedule
from command.service import CommandService
from myevents.log.kafka_address import KafkaAddress
from myevents.log.store import StoreLog
from myevents.log.topic import TopicUnfit, ensure_topic
from myevents.store import open_pool
from myevents.telemetry.relay import RelayMetrics
from schema.ids import partition_of
from schema.tables import PARTITIONS
from tests.command_side import an_event, book, command_side
from tests.deploy.test_monitoring import METRICS
from tests.kafka_topics import NEEDS_KAFKA, carried, own_topic, remove

pytestmark = NEEDS_KAFKA


@pytest.fixture
async def topic() -> AsyncIterator[KafkaAddress]:
    async with own_topic() as address:
        yield address


@asynccontextmanager
async def relaying(database_url: str, address: KafkaAddress, audits: float = EVERY) -> AsyncIterator[Relay]:
    """A relay with its own connections, as one process has it; told to leave at the end."""
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    schedule = AuditSchedule(log=log, pool=pool, address=address, every=audits)
    relay = Relay(log=log, pool=pool, address=address, audits=schedule)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait({task})
        await log.close()
        await pool.close()


async def heads_of(database_url: str) -> dict[int, int]:
    """How far the log goes."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("select partition, seq from heads")
    await connection.close()
    return {row[0]: row[1] for row in rows}


async def relayed(database_url: str, timeout: float = 60) -> dict[int, int]:
    """Wait until the cursors are at the heads; those."""
    connection = await asyncpg.connect(database_url)
    behind = "select count(*) from heads h join relay_leases l using (partition) where l.seq < h.seq"
    async with asyncio.timeout(timeout):
        while True:
            if not await connection.fetchval(behind):
                break
            await asyncio.sleep(0.05)
    await connection.close()
    return await heads_of(database_url)


async def led_by(*relays: Relay, timeout: float = 60) -> list[tuple[int, ...]]:
    """Wait until those relays lead all partitions between them, each as many as the others."""
    async with asyncio.timeout(timeout):
        while True:
            leads = [relay.status.leads for relay in relays]
            counts = [len(each) for each in leads]
            if sorted(sum(leads, ())) == list(range(PARTITIONS)) and max(counts) - min(counts) <= 1:
                return leads
            await asyncio.sleep(0.05)


async def sent_by(relay: Relay, facts: int) -> None:
    """Wait until the relay has sent that many facts, and all there are."""
    async with asyncio.timeout(60):
        while True:
            if sum(relay.status.sent.values()) >= facts and not any(relay.status.lag_facts.values()):
                return
            await asyncio.sleep(0.1)


async def seqs_in(address: KafkaAddress) -> Mapping[int, list[int]]:
    """The seqs that the topic has, by partition, in its order."""
    return {number: [fact.seq for fact in facts] for number, facts in (await carried(address)).items()}


def out_of_order(carried_seqs: Mapping[int, list[int]]) -> dict[int, list[tuple[int, int]]]:
    """By partition, each seq that does not follow the one before it, after that one."""
    found = {
        number: [pair for pair in itertools.pairwise([0, *seqs]) if pair[1] != pair[0] + 1]
        for number, seqs in carried_seqs.items()
    }
    return {number: pairs for number, pairs in found.items() if pairs}


async def test_every_fact_arrives_once_and_in_order(database_url: str, topic: KafkaAddress) -> None:
    async with command_side(database_url) as service, relaying(database_url, topic) as relay:
        events = [await an_event(service, capacity=100) for _ in range(20)]
        await asyncio.gather(*(book(service, events[number % 20], 1) for number in range(1000)))
        heads = await relayed(database_url)
        status = relay.status
    assert sum(heads.values()) >= 1020
    assert await seqs_in(topic) == {number: list(range(1, head + 1)) for number, head in heads.items()}
    assert status.connected
    assert status.leads == tuple(range(PARTITIONS))
    assert sum(status.sent.values()) == sum(heads.values())


async def test_what_arrives_is_what_was_recorded(database_url: str, topic: KafkaAddress) -> None:
    async with command_side(database_url) as service, relaying(database_url, topic):
        event = await an_event(service)
        await book(service, event, 2)
        await relayed(database_url)
    partition = partition_of(event, PARTITIONS)
    pool = await open_pool(database_url)
    recorded = await StoreLog(pool, PARTITIONS).read_envelopes(partition, 0)
    await pool.close()
    arrived = (await carried(topic))[partition]
    assert len(recorded) == 3
    assert [(fact.seq, fact.stream, fact.type, bytes(fact.data), fact.recorded_at) for fact in arrived] == [
        (fact.seq, fact.stream, fact.type, bytes(fact.data), fact.recorded_at) for fact in recorded
    ]


async def test_relays_share_the_partitions_out_and_nothing_is_sent_twice_when_they_hand_over(
    database_url: str, topic: KafkaAddress
) -> None:
    async with command_side(database_url) as service, relaying(database_url, topic) as one:
        events = [await an_event(service, capacity=100_000) for _ in range(32)]
        booking = [asyncio.create_task(_booked_again_and_again(service, event)) for event in events]
        await led_by(one)
        for _ in range(3):
            async with relaying(database_url, topic) as other:
                await led_by(one, other)
                async with relaying(database_url, topic) as third:
                    await led_by(one, other, third)
                await led_by(one, other)
            await led_by(one)
        for task in booking:
            task.cancel()
        await asyncio.wait(booking)
        heads = await relayed(database_url)
    arrived = await seqs_in(topic)
    assert out_of_order(arrived) == {}
    assert {number: len(seqs) for number, seqs in arrived.items()} == heads


async def _booked_again_and_again(service: CommandService, event: str) -> None:
    while True:
        await book(service, event, 1)
        await asyncio.sleep(0.02)


async def test_a_relay_that_was_fenced_off_moves_no_cursor(database_url: str) -> None:
    pool = await open_pool(database_url)
    sleeper = Leases(pool=pool, relay="rly_a", partitions=PARTITIONS)
    other = Leases(pool=pool, relay="rly_b", partitions=PARTITIONS)
    held = {lease.partition: lease.epoch for lease in (await sleeper.share_out({}, "topic")).taken}
    assert len(held) == PARTITIONS
    assert await sleeper.move({3: (held[3], 5)}) == {3}
    # It sleeps for longer than its lease is good.
    await pool.execute("update relay_leases set expires_at = now() - interval '1 second'")
    await pool.execute("update relays set expires_at = now() - interval '1 second'")
    taken = (await other.share_out({}, "topic")).taken
    assert {lease.partition: lease.seq for lease in taken} == {number: 5 * (number == 3) for number in held}
    assert await other.move({3: (taken[3].epoch, 7)}) == {3}
    # And wakes up: neither cursor nor lease is its own any more.
    assert await sleeper.move({number: (epoch, 100) for number, epoch in held.items()}) == frozenset()
    assert (await sleeper.share_out(held, "topic")).kept == frozenset()
    await sleeper.give_up(held)
    rows = await pool.fetch("select partition, holder, seq from relay_leases where partition in (3, 4) order by 1")
    assert [tuple(row) for row in rows] == [(3, "rly_b", 7), (4, "rly_b", 0)]
    await pool.close()


async def test_a_topic_that_is_made_anew_is_filled_from_the_first_fact_on(
    database_url: str, topic: KafkaAddress
) -> None:
    async with command_side(database_url) as service, relaying(database_url, topic) as relay:
        event = await an_event(service, capacity=5000)
        await asyncio.gather(*(book(service, event, 1) for _ in range(500)))
        heads = await relayed(database_url)
        await remove(topic)
        await asyncio.gather(*(book(service, event, 1) for _ in range(10)))
        heads = await heads_of(database_url)
        await sent_by(relay, 502 + sum(heads.values()))
        assert relay.status.lag_seconds == 0
    seqs = await seqs_in(topic)
    assert {number: sorted(set(found)) for number, found in seqs.items()} == {
        number: list(range(1, head + 1)) for number, head in heads.items()
    }


async def test_a_relay_audits_by_itself_and_tells_what_alerts_ask_for(database_url: str, topic: KafkaAddress) -> None:
    registry = CollectorRegistry()
    async with command_side(database_url) as service, relaying(database_url, topic, audits=0.2) as relay:
        registry.register(RelayMetrics(lambda: relay.status))
        event = await an_event(service)
        await relayed(database_url)
        async with asyncio.timeout(60):
            while True:
                if relay.status.audited_at:
                    break
                await asyncio.sleep(0.1)
        told = {family.name: family.samples for family in registry.collect()}
    assert {sample.name: set(sample.labels) for samples in told.values() for sample in samples} == {
        name: labels for name, labels in METRICS.items() if name.startswith(("myevents_relay_", "myevents_audit_"))
    }
    assert [sample.value for sample in told["myevents_relay_leads"]] == [1] * PARTITIONS
    assert [sample.value for sample in told["myevents_audit_differences"]] == [0] * PARTITIONS
    sent = {sample.labels["partition"]: sample.value for sample in told["myevents_relay_sent"]}
    assert sent[str(partition_of(event, PARTITIONS))] == 2
    assert relay.status.leads == ()


async def test_a_topic_with_other_partitions_than_the_store_is_refused_and_it_is_said_what_to_do(
    topic: KafkaAddress,
) -> None:
    await ensure_topic(topic, 3)
    with pytest.raises(TopicUnfit, match=r"has 3 partitions, the store has 16.*MYEVENTS_LOG_URL.*migrate"):
        await ensure_topic(topic, PARTITIONS)


async def test_who_makes_the_topic_first_does_so_for_all(topic: KafkaAddress) -> None:
    ids = await asyncio.gather(*(ensure_topic(topic, PARTITIONS) for _ in range(4)))
    assert len(set(ids)) == 1
