"""One session of a relay: with a warm producer and a topic of a known id, until something fails or it is told to go."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

import asyncpg
import structlog

from command.relay.feed import Feed, LeaseLapsed, SendFailed
from command.relay.leases import LEASE, RENEWAL, Lease, Leases
from command.relay.schedule import AuditSchedule
from myevents.errors import MyEventsError
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import KAFKA_AWAY
from myevents.log.kafka_sender import KafkaSender
from myevents.log.store import PASSING, StoreLog
from myevents.log.topic import TopicMissing, TopicUnfit, topic_id

POLL: Final = 0.5
"""Seconds between two looks at the log when no notice comes."""

_MOVING: Final = 0.05
"""Seconds between two moves of the cursors."""

_TOPIC_LOOK: Final = 5.0
"""Seconds between two looks whether the topic is still the same."""

_DRAINING: Final = 3.0
"""Seconds that what is in flight is given when a relay leaves, or a partition goes to another one."""

_LEAVING: Final = 2.0
"""Seconds that the database is given to let others lead at once; they do so after 3 s anyway."""

_log = structlog.get_logger()


class TopicReplaced(MyEventsError):
    """The topic has another id than a moment ago: it was deleted and made anew."""


ENDS_A_SESSION: Final = (
    *PASSING,
    *KAFKA_AWAY,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    LeaseLapsed,
    SendFailed,
    TopicMissing,
    TopicReplaced,
    TopicUnfit,
)
"""What is over by the next session, or by a later one."""


class Session:
    """Leads partitions, each with a feed of its own; what ends one feed in error ends the session."""

    def __init__(
        self,
        *,
        log: StoreLog,
        leases: Leases,
        sender: KafkaSender,
        address: KafkaAddress,
        topic: str,
        audits: AuditSchedule,
        sent: Counter[int],
    ) -> None:
        self._log = log
        self._leases = leases
        self._sender = sender
        self._address = address
        self._topic = topic
        self._audits = audits
        self._sent = sent
        self._feeds: dict[int, Feed] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        self._good_until = 0.0
        self._acknowledged = asyncio.Event()

    @property
    def feeds(self) -> dict[int, Feed]:
        """The feeds of the partitions that are led, by partition."""
        return dict(sorted(self._feeds.items()))

    async def run(self) -> None:
        """Lead until cancelled; raises a group of `ENDS_A_SESSION`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hold(tasks))
            tasks.create_task(self._look())
            tasks.create_task(self._move())
            tasks.create_task(self._watch_topic())
            tasks.create_task(self._audits.run(self._topic, self._acknowledged_by_partition))

    async def leave(self) -> None:
        """Once it was cancelled: take what is still acknowledged, and let others lead at once."""
        with contextlib.suppress(*ENDS_A_SESSION):
            await self._drain(self._feeds.values())
        with contextlib.suppress(*ENDS_A_SESSION):
            async with asyncio.timeout(_LEAVING):
                await self._record()
                await self._leases.give_up(self._epochs(), leaving=True)

    def end(self) -> None:
        """Count what was sent, whatever ended the session."""
        for number in list(self._feeds):
            self._stop(number)

    async def _hold(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            asked = time.monotonic()
            shared = await self._leases.share_out(self._epochs(), self._topic)
            self._good_until = asked + LEASE
            for number in self._feeds.keys() - shared.kept:
                self._lost(number)
            for lease in shared.taken:
                self._start(tasks, lease)
            staying = sorted(self._feeds.keys() - self._leaving)
            if len(staying) > shared.share:
                self._leaving.update(staying[shared.share :])
                tasks.create_task(self._hand_over(staying[shared.share :]))
            await asyncio.sleep(RENEWAL)

    async def _hand_over(self, numbers: list[int]) -> None:
        """Another relay has come, and leads those from where we stop."""
        feeds = [self._feeds[number] for number in numbers if number in self._feeds]
        ending = [self._tasks[feed.partition] for feed in feeds]
        for task in ending:
            task.cancel()
        # Once they have ended, nothing is sent any more, and nobody else takes acknowledgements.
        await asyncio.gather(*ending, return_exceptions=True)
        await self._drain(feeds)
        await self._record()
        given = {feed.partition: feed.epoch for feed in feeds if self._feeds.get(feed.partition) is feed}
        await self._leases.give_up(given)
        for number in given:
            self._stop(number)

    async def _look(self) -> None:
        while True:
            heads = await self._log.heads()
            for number, feed in self._feeds.items():
                feed.see(heads[number])
            await self._log.changed(POLL)

    async def _move(self) -> None:
        while True:
            await self._acknowledged.wait()
            self._acknowledged.clear()
            await self._record()
            await asyncio.sleep(_MOVING)

    async def _record(self) -> None:
        """Move the cursors to what is acknowledged; who may not does not lead any more."""
        feeds = [feed for feed in self._feeds.values() if feed.acknowledged > feed.recorded]
        if not feeds:
            return
        cursors = {feed.partition: (feed.epoch, feed.acknowledged) for feed in feeds}
        moved = await self._leases.move(cursors)
        for feed in feeds:
            if feed.partition in moved:
                feed.recorded = cursors[feed.partition][1]
            elif self._feeds.get(feed.partition) is feed:
                self._lost(feed.partition)
            if feed.short:
                feed.short = False
                _log.error("topic_lost_facts", partition=feed.partition, seq=feed.acknowledged)
                self._audits.ask()

    async def _watch_topic(self) -> None:
        while True:
            await asyncio.sleep(_TOPIC_LOOK)
            with contextlib.suppress(*KAFKA_AWAY):
                if await topic_id(self._address, self._log.partitions) != self._topic:
                    raise TopicReplaced("the topic was made anew")

    async def _drain(self, feeds: Iterable[Feed]) -> None:
        async with asyncio.timeout(_DRAINING):
            for feed in feeds:
                await feed.drain()

    def _start(self, tasks: asyncio.TaskGroup, lease: Lease) -> None:
        _log.info("relay_leads", partition=lease.partition, epoch=lease.epoch, after=lease.seq)
        if lease.anew:
            _log.error("topic_made_anew", partition=lease.partition, action="it is filled from the first fact on")
        feed = Feed(
            partition=lease.partition,
            epoch=lease.epoch,
            seq=lease.seq,
            log=self._log,
            sender=self._sender,
            may_lead=lambda: time.monotonic() < self._good_until,
            acknowledging=self._acknowledged.set,
        )
        self._feeds[lease.partition] = feed
        self._tasks[lease.partition] = tasks.create_task(feed.run())

    def _lost(self, number: int) -> None:
        _log.warning("lease_lost", partition=number, epoch=self._feeds[number].epoch)
        self._stop(number)

    def _stop(self, number: int) -> None:
        feed = self._feeds.pop(number)
        self._tasks.pop(number).cancel()
        self._leaving.discard(number)
        self._sent[number] += feed.acknowledged_here

    def _epochs(self) -> dict[int, int]:
        return {number: feed.epoch for number, feed in self._feeds.items()}

    def _acknowledged_by_partition(self) -> dict[int, int]:
        return {number: feed.acknowledged for number, feed in self.feeds.items()}
