"""Sends to Kafka: an idempotent producer behind one thread, for it has no asyncio and may block for long.

What is in flight is bounded by whoever sends, since the producer takes whatever it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final

import structlog
from kafka import KafkaProducer

from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import KafkaError, made

_CLOSING: Final = 2.0
"""Seconds that the producer's own thread is given to end."""

_log = structlog.get_logger()

Record = tuple[bytes, bytes]
"""Key and value."""


class KafkaSender:
    """One producer, from its warming up to its end: once a send has failed, it must be left and another be made."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-send")
        self._loop = asyncio.get_running_loop()
        self._producer: KafkaProducer | None = None

    async def __aenter__(self) -> KafkaSender:
        """Connect and learn where the topic's partitions are; raises `KafkaError` after some seconds."""
        try:
            await self._loop.run_in_executor(self._thread, self._warm)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what is still in flight."""
        await self._close()

    def send(self, partition: int, records: Sequence[Record]) -> asyncio.Future[int | None]:
        """Put records behind each other into a partition; who is cancelled after this still knows what is under way.

        What is returned is done once all of them are acknowledged, with the offset of the last; or with None once
        one of them is known not to be, whatever has become of the others. It may raise `KafkaError`.
        """
        done: asyncio.Future[int | None] = self._loop.create_future()
        self._thread.submit(self._send, partition, records, done)
        return done

    def _warm(self) -> None:
        self._producer = made(
            KafkaProducer,
            self._address,
            client_id="myevents-relay",
            # Said although they are the defaults: with a setting that conflicts this is refused, not silently off.
            enable_idempotence=True,
            acks="all",
            allow_auto_create_topics=False,
            batch_size=262_144,
            delivery_timeout_ms=15_000,
            max_block_ms=5_000,
            metrics_enabled=False,
        )
        self._producer.partitions_for(self._address.topic)

    def _send(self, partition: int, records: Sequence[Record], done: asyncio.Future[int | None]) -> None:
        producer, topic = self._producer, self._address.topic
        try:
            assert producer is not None, "who sends has entered, and has not left"
            sent = [producer.send(topic, value, key, partition=partition) for key, value in records]
        except Exception as error:
            self._tell(done, error)
            return
        # The last one of a partition is settled last, so that one call back into the loop tells of all.
        sent[-1].add_both(lambda _: self._settled(sent, done))

    def _settled(self, sent: list[Any], done: asyncio.Future[int | None]) -> None:
        failure = next((each for each in sent if not each.succeeded()), None)
        if failure is not None:
            _log.warning("kafka_send_failed", reason=type(failure.exception).__name__)
        self._tell(done, sent[-1].value.offset if failure is None else None)

    def _tell(self, done: asyncio.Future[int | None], outcome: int | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):
            # The loop may have ended, and nobody waits any more.
            self._loop.call_soon_threadsafe(_settle, done, outcome)

    async def _close(self) -> None:
        try:
            await asyncio.shield(self._loop.run_in_executor(self._thread, self._drop))
        finally:
            self._thread.shutdown(wait=False)

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # Its `close` alone waits for what is in flight, and where that does not come leaves its thread running.
        producer._sender.force_close()
        producer._sender.join(_CLOSING)
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)


def _settle(done: asyncio.Future[int | None], outcome: int | Exception | None) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
        done.exception()  # Marks it as heard of: who sent this may be gone.
    else:
        done.set_result(outcome)
