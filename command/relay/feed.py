"""One partition's way from the store to Kafka, for as long as this relay leads it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from myevents.errors import MyEventsError
from myevents.log.kafka_sender import KafkaSender
from myevents.log.store import StoreLog
from schema.envelope import Envelope, seal

RUN: Final = 250
"""Facts that are read and sent at once."""

RUNS: Final = 4
"""Runs of a partition that may be under way unacknowledged."""

_LOOKS: Final = 600
"""Looks at the head that are remembered to tell the lag in seconds."""


class SendFailed(MyEventsError):
    """Kafka did not acknowledge a fact: a new producer must send again what follows the last one it did."""


class LeaseLapsed(MyEventsError):
    """Our right to lead ran out by our own clock, since we slept or the database was away."""


class Feed:
    """Reads, seals and sends in order; what is acknowledged without a gap is `acknowledged`."""

    def __init__(
        self,
        *,
        partition: int,
        epoch: int,
        seq: int,
        log: StoreLog,
        sender: KafkaSender,
        may_lead: Callable[[], bool],
        acknowledging: Callable[[], None],
    ) -> None:
        self.partition = partition
        self.epoch = epoch
        self.acknowledged = seq
        self.recorded = seq
        self.head = seq
        self.short = False
        self._sent = seq
        self._begun_at = seq
        self._log = log
        self._sender = sender
        self._may_lead = may_lead
        self._acknowledging = acknowledging
        self._woken = asyncio.Event()
        self._under_way: deque[tuple[int, asyncio.Future[int | None]]] = deque()
        self._room = asyncio.Semaphore(RUNS)
        self._sent_some = asyncio.Event()
        self._looks: deque[tuple[float, int]] = deque(maxlen=_LOOKS)

    def see(self, head: int) -> None:
        """Be told how far the partition goes."""
        now = time.monotonic()
        if head > self.acknowledged and (not self._looks or self._looks[-1][1] < head):
            if len(self._looks) == _LOOKS:
                # The oldest tells the lag; what is lost is how it shrinks, not how large it is.
                self._looks.pop()
            self._looks.append((now, head))
        self.head = max(self.head, head)
        if head > self._sent:
            self._woken.set()

    @property
    def acknowledged_here(self) -> int:
        """How many facts Kafka has acknowledged to this feed."""
        return self.acknowledged - self._begun_at

    @property
    def lag_seconds(self) -> float:
        """How long ago the oldest fact that Kafka has not acknowledged was first seen here; 0 where there is none."""
        return time.monotonic() - self._looks[0][0] if self._looks else 0.0

    async def run(self) -> None:
        """Send until cancelled; raises `SendFailed`, `LeaseLapsed`, and what passes by itself."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._settle())

    async def drain(self) -> None:
        """Once it was cancelled: take the acknowledgements that are still to come."""
        while self._under_way:
            await self._settle_next()

    async def _send(self) -> None:
        while True:
            await self._room.acquire()
            envelopes = await self._next_run()
            records = [(envelope.stream.encode(), seal(envelope)) for envelope in envelopes]
            if not self._may_lead():
                raise LeaseLapsed(f"the lease of partition {self.partition} ran out")
            acknowledged = self._sender.send(self.partition, records)
            self._sent = envelopes[-1].seq
            self._under_way.append((self._sent, acknowledged))
            self._sent_some.set()

    async def _next_run(self) -> list[Envelope]:
        while True:
            if self._sent < self.head:
                envelopes = await self._log.read_envelopes(self.partition, self._sent, RUN)
                if envelopes:
                    return envelopes
            self._woken.clear()
            await self._woken.wait()

    async def _settle(self) -> None:
        while True:
            if not self._under_way:
                self._sent_some.clear()
                await self._sent_some.wait()
            await self._settle_next()
            self._acknowledging()

    async def _settle_next(self) -> None:
        """Take the next acknowledgement; until it is there, what it is about stays under way, also when cancelled."""
        seq, acknowledged = self._under_way[0]
        await asyncio.wait({acknowledged})
        offset = acknowledged.result()
        if offset is None:
            raise SendFailed(f"facts of partition {self.partition} up to {seq} were not all acknowledged")
        self._under_way.popleft()
        self._room.release()
        # Facts 1 to seq need as many offsets at least: otherwise the topic has lost some.
        self.short = self.short or offset + 1 < seq
        self.acknowledged = seq
        while self._looks and self._looks[0][1] <= seq:
            self._looks.popleft()
