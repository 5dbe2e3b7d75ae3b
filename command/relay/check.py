"""Checks all of Kafka's copy of the log at once, and mends it: what `myevents verify --log` does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from command.relay.audit import Auditor, Copy, Findings, repair
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_reader import KafkaReader
from myevents.log.kafka_sender import KafkaSender
from myevents.log.store import StoreLog
from myevents.log.topic import topic_id

_CATCHING_UP: Final = 5.0
"""Seconds that a living relay is given to send what was recorded just before."""

_REACHED: Final = """
select l.partition, l.seq from relay_leases l
where l.topic_id = $1 and exists (select from relays r where r.expires_at > now())
"""


async def check(*, log: StoreLog, pool: asyncpg.Pool, address: KafkaAddress) -> list[Findings]:
    """What is found of each partition, as far as the log goes now; raises `TopicMissing`, `TopicUnfit`, `KafkaError`.

    It reads on one connection to Kafka, and of the log a chunk at a time: what it holds is bounded, but for how
    many ranges are broken.
    """
    topic = await topic_id(address, log.partitions)
    heads = await log.heads()
    await _relayed(pool, topic, heads)
    async with KafkaReader(address) as reader:
        spans = await reader.spans(log.partitions)
        auditor = Auditor(log=log, reader=reader)
        return [await auditor.audit(number, Copy(), spans[number], head) for number, head in sorted(heads.items())]


async def mend(found: Sequence[Findings], *, log: StoreLog, address: KafkaAddress) -> int:
    """Send again what is lost or altered; how many facts. Raises `NotAcknowledged`, `KafkaError`."""
    async with KafkaSender(address) as sender:
        return sum([await repair(each, log=log, sender=sender) for each in found])


async def _relayed(pool: asyncpg.Pool, topic: str, heads: Mapping[int, int]) -> None:
    deadline = time.monotonic() + _CATCHING_UP
    while time.monotonic() < deadline:
        reached = {row[0]: row[1] for row in await pool.fetch(_REACHED, topic, timeout=10)}
        if not reached or all(reached.get(number, 0) >= head for number, head in heads.items()):
            return
        await asyncio.sleep(0.1)
