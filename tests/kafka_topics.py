"""Topics of a test's own, and what is in them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient

from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.log.kafka_clients import made
from myevents.log.kafka_reader import KafkaReader
from schema.envelope import Envelope, unseal
from schema.tables import PARTITIONS

NEEDS_KAFKA: Final = pytest.mark.skipif(
    not os.environ.get("MYEVENTS_TEST_LOG_URL"), reason="MYEVENTS_TEST_LOG_URL names no Kafka: see `make servers`"
)


def fresh_address() -> KafkaAddress:
    """The address of a topic that is not there yet."""
    address = kafka_address(os.environ["MYEVENTS_TEST_LOG_URL"])
    assert address is not None
    return KafkaAddress(servers=address.servers, topic=f"test-{uuid4().hex}")


def url_of(address: KafkaAddress) -> str:
    """What MYEVENTS_LOG_URL says for it."""
    return f"kafka://{','.join(address.servers)}?topic={address.topic}"


@asynccontextmanager
async def own_topic() -> AsyncIterator[KafkaAddress]:
    """The address of a topic that is removed at the end, whoever makes it."""
    address = fresh_address()
    try:
        yield address
    finally:
        await remove(address)


async def remove(address: KafkaAddress) -> None:
    """Delete the topic."""

    def done() -> None:
        admin = made(KafkaAdminClient, address)
        try:
            admin.delete_topics([address.topic], raise_errors=False)
        finally:
            admin.close()

    await asyncio.to_thread(done)


async def carried(address: KafkaAddress) -> dict[int, list[Envelope]]:
    """The facts that the topic has, by partition, in its order."""
    found: dict[int, list[Envelope]] = {}
    async with KafkaReader(address) as reader:
        for partition, span in (await reader.spans(PARTITIONS)).items():
            found[partition] = []
            async for batch in reader.read(partition, span.first, span.end):
                found[partition] += [unseal(value or b"") for _, value in batch]
    return found


def without_repeats(facts: Sequence[Envelope]) -> list[int]:
    """The seqs as a reader takes them that drops what it has: only what continues, in the order it comes."""
    reached = 0
    for fact in facts:
        reached = fact.seq if fact.seq == reached + 1 else reached
    return list(range(1, reached + 1))
