"""The relay: leads its share of the partitions and copies their facts into Kafka, in order, at least once.

It works in sessions. In one, it has a warm producer and knows the topic's id; whatever fails ends the session, and
with it the producer, and the next one begins behind what was last acknowledged. A topic with another id was made anew,
and is filled from the first fact on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

import asyncpg
import structlog

from command.relay.leases import Leases
from command.relay.schedule import AuditSchedule
from command.relay.session import ENDS_A_SESSION, Session
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_sender import KafkaSender
from myevents.log.store import StoreLog
from myevents.log.topic import ensure_topic
from myevents.relay_status import RelayStatus
from myevents.telemetry.logs import kinds_of

_PAUSE: Final = (0.2, 3.0)
"""Seconds before a new session, about: after the first failure, and at most."""

_STEADY: Final = 10.0
"""Seconds after which a session counts as one that went well."""

_log = structlog.get_logger()


class Relay:
    """Several may run, also in one process: each partition is led by one of them at a time."""

    def __init__(
        self, *, log: StoreLog, pool: asyncpg.Pool, address: KafkaAddress, audits: AuditSchedule | None = None
    ) -> None:
        self.name = f"rly_{uuid4().hex}"
        self._log = log
        self._address = address
        self._leases = Leases(pool=pool, relay=self.name, partitions=log.partitions)
        self._audits = audits or AuditSchedule(log=log, pool=pool, address=address)
        self._sent = Counter[int]()
        self._session: Session | None = None
        self._away_since = time.monotonic()

    @property
    def status(self) -> RelayStatus:
        """How it goes at this moment."""
        feeds = self._session.feeds if self._session else {}
        away = 0.0 if self._session else time.monotonic() - self._away_since
        sent = Counter(self._sent)
        sent.update({number: feed.acknowledged_here for number, feed in feeds.items()})
        return RelayStatus(
            relay=self.name,
            partitions=self._log.partitions,
            connected=self._session is not None,
            leads=tuple(feeds),
            sent=dict(sent),
            lag_facts={number: feed.head - feed.acknowledged for number, feed in feeds.items()},
            lag_seconds=max((feed.lag_seconds for feed in feeds.values()), default=away),
            differences={number: self._audits.differences.get(number, 0) for number in feeds},
            audited_at=self._audits.audited_at,
        )

    async def amiss(self) -> str | None:
        """What keeps it from copying, None where nothing does."""
        return None if self._session else "Kafka or the store does not answer"

    async def run(self) -> None:
        """Relay until cancelled, then give all up in order; whatever fails meanwhile is tried again, with pauses."""
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                await self._hold_session()
            except* ENDS_A_SESSION as group:
                failures = 0 if time.monotonic() - begun > _STEADY else failures + 1
                reasons = sorted({kinds_of(error)[0] for error in _leaves(group)})
                _log.warning("relay_waits", reasons=reasons)
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(_PAUSE[0] * 2.0**failures, _PAUSE[1]))

    async def _hold_session(self) -> None:
        topic = await ensure_topic(self._address, self._log.partitions)
        async with KafkaSender(self._address) as sender:
            session = Session(
                log=self._log,
                leases=self._leases,
                sender=sender,
                address=self._address,
                topic=topic,
                audits=self._audits,
                sent=self._sent,
            )
            self._session = session
            try:
                await session.run()
            except asyncio.CancelledError:
                await asyncio.shield(session.leave())
                raise
            finally:
                self._session = None
                self._away_since = time.monotonic()
                session.end()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
