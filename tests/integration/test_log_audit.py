"""What Kafka lacks, or has differently, is found, named and mended."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from command.relay.audit import Findings
from command.relay.check import check, mend
from command.relay.schedule import AuditSchedule
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_sender import KafkaSender
from myevents.log.store import StoreLog
from myevents.log.topic import ensure_topic
from myevents.store import open_pool
from schema.envelope import Envelope, seal
from schema.facts import EventPublished, Fact
from schema.ids import partition_of
from schema.tables import PARTITIONS
from tests.e2e.served import PROGRAM
from tests.history import record
from tests.kafka_topics import NEEDS_KAFKA, own_topic, url_of

pytestmark = NEEDS_KAFKA

STREAM = "evt_audited"
PARTITION = partition_of(STREAM, PARTITIONS)
COUNT = 2500


@pytest.fixture
async def topic() -> AsyncIterator[KafkaAddress]:
    async with own_topic() as address:
        await ensure_topic(address, PARTITIONS)
        yield address


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a store with facts 1 to 2,500 in one partition."""
    history: list[tuple[str, Fact]] = [(STREAM, EventPublished()) for _ in range(COUNT)]
    await record(database_url, history)
    pool = await open_pool(database_url)
    yield pool
    await pool.close()


async def facts(pool: asyncpg.Pool) -> list[Envelope]:
    """All there are."""
    return await StoreLog(pool, PARTITIONS).read_envelopes(PARTITION, 0, COUNT)


async def put(address: KafkaAddress, sent: Sequence[Envelope | bytes]) -> None:
    """Have the topic carry these."""
    values = [each if isinstance(each, bytes) else seal(each) for each in sent]
    async with KafkaSender(address) as sender:
        acknowledged = sender.send(PARTITION, [(b"key", value) for value in values])
        assert await acknowledged is not None


async def found_in(pool: asyncpg.Pool, address: KafkaAddress) -> Findings:
    """What the audit of the partition finds."""
    return (await check(log=StoreLog(pool, PARTITIONS), pool=pool, address=address))[PARTITION]


def altered(fact: Envelope) -> Envelope:
    """The fact, as somebody else would have it."""
    return replace(fact, data=msgspec.Raw(b'{"seats": 1}'))


async def test_a_whole_copy_has_nothing_to_tell(pool: asyncpg.Pool, topic: KafkaAddress) -> None:
    await put(topic, await facts(pool))
    found = await found_in(pool, topic)
    assert (found.breaches, found.remarks, found.differences) == ([], [], 0)
    assert (found.expected, found.present, found.last, found.records) == (COUNT, COUNT, COUNT, COUNT)


async def test_the_same_fact_in_other_spelling_is_the_same(pool: asyncpg.Pool, topic: KafkaAddress) -> None:
    recorded = await facts(pool)
    other = msgspec.json.decode(seal(recorded[0]))
    spelled: dict[str, Any] = dict(reversed(other.items()))
    await put(topic, [msgspec.json.format(msgspec.json.encode(spelled)), *recorded[1:]])
    assert (await found_in(pool, topic)).breaches == []


@pytest.mark.parametrize(
    ("carries", "breach"),
    [
        (
            lambda all_: all_[:999] + all_[1000:2000] + all_[2003:],
            "lacks 4 of the facts of partition {}: 1000, 2001 to 2003",
        ),
        (lambda all_: all_[:-5], "lacks 5 of the facts of partition {}: 2496 to 2500"),
        (lambda _: [], "lacks 2500 of the facts of partition {}: 1 to 2500"),
        (
            lambda all_: [*all_[:9], altered(all_[9]), altered(all_[10]), *all_[11:]],
            "has, but not as they were recorded, 2 of the facts of partition {}: 10 to 11",
        ),
    ],
    ids=["holes", "the end", "everything", "altered"],
)
async def test_what_is_lost_or_altered_is_named_and_mended(
    pool: asyncpg.Pool, topic: KafkaAddress, carries: Any, breach: str
) -> None:
    sent = carries(await facts(pool))
    if sent:
        await put(topic, sent)
    found = await found_in(pool, topic)
    assert found.breaches == [f"Kafka {breach.format(PARTITION)}"]
    assert await mend([found], log=StoreLog(pool, PARTITIONS), address=topic) == found.differences
    again = await found_in(pool, topic)
    assert again.breaches == []
    assert again.records == len(sent) + found.differences


async def test_what_is_repeated_or_late_is_told_and_no_breach(pool: asyncpg.Pool, topic: KafkaAddress) -> None:
    recorded = await facts(pool)
    await put(topic, [*recorded[:20], *recorded[10:20], *recorded[22:], recorded[21], recorded[20]])
    found = await found_in(pool, topic)
    assert found.breaches == []
    assert found.remarks == [
        f"Kafka has 10 of the facts of partition {PARTITION}: 11 to 20 more than once",
        f"Kafka has 2 of the facts of partition {PARTITION}: 21 to 22 later than their place",
    ]


async def test_what_the_log_does_not_have_is_a_breach(pool: asyncpg.Pool, topic: KafkaAddress) -> None:
    recorded = await facts(pool)
    await put(topic, [*recorded, replace(recorded[-1], seq=COUNT + 1), b"nonsense"])
    found = await found_in(pool, topic)
    assert len(found.breaches) == 1
    assert "restored from an older backup" in found.breaches[0]
    assert found.remarks == [f"Partition {PARTITION} has no facts at the offsets {COUNT + 1}"]


async def test_the_schedule_looks_at_what_is_new_and_sees_it_mended(pool: asyncpg.Pool, topic: KafkaAddress) -> None:
    recorded = await facts(pool)
    log = StoreLog(pool, PARTITIONS)
    name = await ensure_topic(topic, PARTITIONS)
    schedule = AuditSchedule(log=log, pool=pool, address=topic)
    await put(topic, recorded[:1000])
    assert (await schedule.audit(name, {PARTITION: 1000}))[0].breaches == []
    # Another relay goes on from there: it would not see now what was before.
    other = AuditSchedule(log=log, pool=pool, address=topic)
    await put(topic, recorded[1100:])
    assert (await other.audit(name, {PARTITION: COUNT}))[0].differences == 100
    assert other.differences == {PARTITION: 100}
    row = await pool.fetchrow("select next_offset, whole from relay_audits where partition = $1", PARTITION)
    assert row is not None
    assert tuple(row) == (1000, 1000)
    await put(topic, recorded[1000:1100])
    assert (await other.audit(name, {PARTITION: COUNT}))[0].differences == 0
    assert other.differences == {PARTITION: 0}
    assert other.audited_at is not None
    assert await pool.fetchval("select whole from relay_audits where partition = $1", PARTITION) == COUNT


async def test_the_command_line_finds_mends_and_exits_with_what_it_found(
    pool: asyncpg.Pool, database_url: str, topic: KafkaAddress
) -> None:
    recorded = await facts(pool)
    await put(topic, recorded[:1200] + recorded[1300:])
    settings = {**os.environ, "MYEVENTS_DATABASE_URL": database_url, "MYEVENTS_LOG_URL": url_of(topic)}

    def run(*options: str) -> tuple[int, str]:
        words: list[str | os.PathLike[str]] = [PROGRAM, "verify", "--log", *options]
        done = subprocess.run(words, env=settings, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, " ".join(done.stderr.split())

    async def verify(*options: str) -> tuple[int, str]:
        return await asyncio.to_thread(run, *options)

    code, told = await verify()
    assert code == 1
    assert f"lacks 100 of the facts of partition {PARTITION}: 1201 to 1300" in told
    code, told = await verify("--repair")
    assert (code, "Sent again: 100 facts" in told) == (0, True), told
    assert (await verify())[0] == 0
