"""Topics of a test's own, on a real Kafka, filled by hand: so that they may repeat, lack and garble what they carry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.log.kafka_clients import made
from myevents.log.store import StoreLog
from schema.envelope import seal
from schema.tables import PARTITIONS


def given_kafka() -> KafkaAddress:
    """The Kafka of MYEVENTS_TEST_LOG_URL, a topic of its own; skips the test where none is named."""
    address = kafka_address(os.environ.get("MYEVENTS_TEST_LOG_URL", "store:"))
    if address is None:
        pytest.skip("MYEVENTS_TEST_LOG_URL names no Kafka")
    return replace(address, topic=f"test.{uuid4().hex}", replication=1)


def url_of(address: KafkaAddress) -> str:
    """What MYEVENTS_LOG_URL says for it."""
    return f"kafka://{','.join(address.servers)}?topic={address.topic}"


class TestTopic:
    """A topic, and who writes to it."""

    __test__ = False

    def __init__(self, address: KafkaAddress, producer: Any) -> None:
        self.address = address
        self._producer = producer

    async def send(self, partition: int, values: Iterable[bytes]) -> None:
        """Write records to a partition, in order."""

        def sent() -> None:
            for waiting in [self._producer.send(self.address.topic, value, partition=partition) for value in values]:
                waiting.get(timeout=20)

        await asyncio.to_thread(sent)

    async def copy(self, store: StoreLog, partition: int, after: int, limit: int = 1_000_000) -> int:
        """Write facts of the store's; the seq of the last one."""
        envelopes = await store.read_envelopes(partition, after, limit)
        await self.send(partition, [seal(envelope) for envelope in envelopes])
        return envelopes[-1].seq if envelopes else after

    async def copy_all(self, store: StoreLog) -> None:
        """Write all facts of the store's."""
        for partition in range(PARTITIONS):
            await self.copy(store, partition, 0)

    async def relay(self, store: StoreLog, sent: dict[int, int]) -> None:
        """Write each new fact of the store's after those `sent`, until cancelled."""
        while True:
            for partition, head in (await store.heads()).items():
                if sent.get(partition, 0) < head:
                    # What is cancelled in between is sent again: topics may repeat.
                    sent[partition] = await self.copy(store, partition, sent.get(partition, 0))
            await asyncio.sleep(0.02)


@asynccontextmanager
async def topic(address: KafkaAddress) -> AsyncIterator[TestTopic]:
    """Made, and deleted in the end."""
    await create(address)
    try:
        async with writing(address) as written:
            yield written
    finally:
        await asyncio.to_thread(_administer, address, lambda admin: admin.delete_topics([address.topic]))


async def create(address: KafkaAddress) -> None:
    """Make the topic."""
    wanted = {address.topic: {"num_partitions": PARTITIONS, "replication_factor": 1}}
    await asyncio.to_thread(_administer, address, lambda admin: admin.create_topics(wanted, wait_for_metadata=True))


@asynccontextmanager
async def writing(address: KafkaAddress) -> AsyncIterator[TestTopic]:
    """The topic, to be written to while its Kafka is there."""
    producer = await asyncio.to_thread(made, KafkaProducer, address, acks="all", linger_ms=2)
    try:
        yield TestTopic(address, producer)
    finally:
        await asyncio.to_thread(producer.close, timeout=5)


def _administer(address: KafkaAddress, act: Callable[[Any], object]) -> None:
    admin = made(KafkaAdminClient, address)
    try:
        act(admin)
    finally:
        admin.close()
