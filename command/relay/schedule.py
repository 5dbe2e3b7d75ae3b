"""Audits beside the relay: every minute what is new in Kafka, and all of it once a day.

How far a partition was found whole is a row in PostgreSQL, so that the next relay that leads it goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Final

import asyncpg
import structlog

from command.relay.audit import Auditor, Copy, Findings
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import KAFKA_AWAY
from myevents.log.kafka_reader import KafkaReader, Span
from myevents.log.store import PASSING, StoreLog

EVERY: Final = 60.0
"""Seconds between two audits of what is new."""

FULL_EVERY: Final = 24 * 3600.0
"""Seconds between two audits of a partition from its first offset."""

_KNOWN: Final = """
select partition, next_offset, whole from relay_audits
where topic_id = $1 and full_at > now() - make_interval(secs => $2)
"""

_REMEMBER: Final = """
insert into relay_audits as a (partition, topic_id, next_offset, whole, full_at) values ($1, $2, $3, $4, now())
on conflict (partition) do update set topic_id = excluded.topic_id, next_offset = excluded.next_offset,
  whole = excluded.whole, full_at = case when $5 then excluded.full_at else a.full_at end
"""

_log = structlog.get_logger()


class AuditSchedule:
    """What is audited when, and what was found: `differences` by partition, `audited_at` in seconds since 1970."""

    def __init__(
        self,
        *,
        log: StoreLog,
        pool: asyncpg.Pool,
        address: KafkaAddress,
        every: float = EVERY,
        full: float = FULL_EVERY,
    ) -> None:
        self._log = log
        self._pool = pool
        self._address = address
        self._every = every
        self._full = full
        self._asked = asyncio.Event()
        self._everything = False
        # Of partitions in which something is wrong: these are gone on with in memory, to see it mended.
        self._open: dict[int, Copy] = {}
        self._topic: str | None = None
        self.differences: dict[int, int] = {}
        self.audited_at: float | None = None

    def ask(self) -> None:
        """Audit everything soon: there is a reason to doubt."""
        self._everything = True
        self._asked.set()

    async def run(self, topic: str, acknowledged: Callable[[], Mapping[int, int]]) -> None:
        """Audit the partitions that are led, as far as Kafka has acknowledged them, until cancelled."""
        if topic != self._topic:
            self._topic = topic
            self._open.clear()
            self.differences.clear()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._asked.wait()
            self._asked.clear()
            try:
                await self.audit(topic, acknowledged())
            except (*PASSING, *KAFKA_AWAY) as error:
                _log.warning("audit_waits", reason=type(error).__name__)

    async def audit(self, topic: str, expected: Mapping[int, int]) -> list[Findings]:
        """Look once at those partitions, each up to that seq; what was found."""
        everything, self._everything = self._everything, False
        rows = [] if everything else await self._pool.fetch(_KNOWN, topic, self._full, timeout=10)
        known = {row[0]: Copy(whole=row[2], next_offset=row[1]) for row in rows}
        found = []
        async with KafkaReader(self._address) as reader:
            spans = await reader.spans(self._log.partitions)
            auditor = Auditor(log=self._log, reader=reader, considerate=True)
            for partition, seq in expected.items():
                before = None if everything else self._open.get(partition) or known.get(partition)
                found.append(await self._audited(auditor, partition, before, spans[partition], seq, topic))
        self.audited_at = time.time()
        return found

    async def _audited(
        self, auditor: Auditor, partition: int, before: Copy | None, span: Span, expected: int, topic: str
    ) -> Findings:
        full = before is None or before.next_offset > span.end
        copy = Copy() if before is None or full else before
        found = await auditor.audit(partition, copy, span, expected)
        self.differences[partition] = found.differences
        if found.breaches:
            self._open[partition] = copy
            _log.error("kafka_differs", partition=partition, breaches=found.breaches)
            return found
        self._open.pop(partition, None)
        whole = next((last for first, last in copy.right if first == 1), 0)
        if whole >= found.expected and whole == copy.last:
            await self._pool.execute(_REMEMBER, partition, topic, copy.next_offset, whole, full, timeout=10)
        return found
