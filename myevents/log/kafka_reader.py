"""Reads partitions of the topic from one offset to another, without a group: for those who compare, not who follow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError
from msgspec import Struct

from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import made

_PATIENCE: Final = 15.0
"""Seconds without a record after which a read is given up."""

_AT_ONCE: Final = 2_000
"""Records handed over at once."""

Result = TypeVar("Result")


class Span(Struct, frozen=True):
    """The offsets that a partition has: from `first` on, and none from `end` on."""

    first: int
    end: int


class KafkaReader:
    """One consumer, which belongs to one thread."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-read")
        self._consumer: KafkaConsumer | None = None

    async def __aenter__(self) -> KafkaReader:
        """Connect; raises `KafkaError` after some seconds."""
        try:
            await self._in_thread(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await asyncio.shield(self._in_thread(self._close))
        finally:
            self._thread.shutdown(wait=False)

    async def spans(self, partitions: int) -> dict[int, Span]:
        """The offsets that each partition has now; raises `KafkaError`."""
        return await self._in_thread(lambda: self._spans(partitions))

    async def read(self, partition: int, start: int, end: int) -> AsyncIterator[list[tuple[int, bytes | None]]]:
        """Offsets and values from `start` until before `end`, in batches; raises `KafkaError`."""
        place = TopicPartition(self._address.topic, partition)
        await self._in_thread(lambda: self._seek(place, start))
        reached, heard = start, time.monotonic()
        while reached < end:
            batch, reached = await self._in_thread(lambda: self._poll(place))
            if batch:
                heard = time.monotonic()
                yield [record for record in batch if record[0] < end]
            elif time.monotonic() - heard > _PATIENCE:
                raise KafkaTimeoutError(f"partition {partition} gave nothing after offset {reached}")

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        self._consumer = made(
            KafkaConsumer,
            self._address,
            client_id="myevents-audit",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=1_048_576,
            metrics_enabled=False,
        )

    @property
    def _open_consumer(self) -> KafkaConsumer:
        assert self._consumer is not None
        return self._consumer

    def _close(self) -> None:
        self._open_consumer.close()

    def _spans(self, partitions: int) -> dict[int, Span]:
        places = [TopicPartition(self._address.topic, number) for number in range(partitions)]
        firsts = self._open_consumer.beginning_offsets(places)
        ends = self._open_consumer.end_offsets(places)
        return {place.partition: Span(firsts[place], ends[place]) for place in places}

    def _seek(self, place: TopicPartition, offset: int) -> None:
        self._open_consumer.assign([place])
        self._open_consumer.seek(place, offset)

    def _poll(self, place: TopicPartition) -> tuple[list[tuple[int, bytes | None]], int]:
        records = self._open_consumer.poll(timeout_ms=500, max_records=_AT_ONCE).get(place, [])
        return [(record.offset, record.value) for record in records], self._open_consumer.position(place)
