"""Holds Kafka's copy of a partition against the log: every fact from the first on must be there, and say the same.

A fact may be there more than once, and later than its place, for it is sent again after every doubt: readers drop what
they have, and fetch from the store what does not come. So both are told, and neither is a breach.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final

import msgspec
from msgspec import Struct

from command.relay.ranges import Ranges, named
from myevents.errors import MyEventsError
from myevents.log.kafka_reader import KafkaReader, Span
from myevents.log.kafka_sender import KafkaSender
from myevents.log.store import StoreLog
from schema.envelope import Envelope, MalformedEnvelope, seal, unseal

_CHUNK: Final = 1_000
"""Facts of the store that are read at once."""

_CHUNKS: Final = 16
"""Chunks that are kept, for facts that come again or late."""

_RUN: Final = 500
"""Facts that are sent again at once."""


class NotAcknowledged(MyEventsError):
    """Kafka did not acknowledge what was sent again; it may be tried once more."""


class Copy:
    """What was seen of a partition in Kafka so far: it may be gone on with where it stopped."""

    def __init__(self, *, whole: int = 0, next_offset: int = 0) -> None:
        self.next_offset = next_offset
        self.right = Ranges((1, whole))
        self.wrong = Ranges()
        self.repeated = Ranges()
        self.late = Ranges()
        self.unknown = Ranges()
        self.malformed = Ranges()
        self.last = whole

    def take(self, seq: int, *, same: bool) -> None:
        """Note that a fact of the log is here, and whether it says the same."""
        if seq in self.right or seq in self.wrong:
            self.repeated.add(seq)
        elif seq < self.last:
            self.late.add(seq)
        (self.right if same else self.wrong).add(seq)
        self.last = max(self.last, seq)


class Findings(Struct, frozen=True, kw_only=True):
    """What the audit of a partition found. `lost` and `altered` can be mended; those and `unknown` are breaches."""

    partition: int
    expected: int
    """The log's last seq that should be there, which is also how many facts."""
    last: int
    """The highest seq that is there."""
    present: int
    """Facts that are there and say the same."""
    records: int
    """Offsets that the partition has."""
    lost: Ranges
    altered: Ranges
    unknown: Ranges
    """Seqs that the log does not have."""
    repeated: Ranges
    late: Ranges
    mended: Ranges
    """Seqs that are there altered as well as right."""
    malformed: Ranges
    """Offsets of what is no fact of this partition at all."""

    @property
    def differences(self) -> int:
        """How many facts are missing, or say something else."""
        return self.lost.count + self.altered.count + self.unknown.count

    @property
    def breaches(self) -> list[str]:
        """A sentence for each kind of breach."""
        told = (
            (self.lost, "lacks"),
            (self.altered, "has, but not as they were recorded,"),
            (self.unknown, "has, though the log does not have them (was it restored from an older backup?),"),
        )
        return [f"Kafka {verb} {_facts(found, self.partition)}" for found, verb in told if found]

    @property
    def remarks(self) -> list[str]:
        """A sentence for each kind of what is allowed."""
        told = (
            (self.repeated, "more than once"),
            (self.late, "later than their place"),
            (self.mended, "both as they were recorded and altered (only a topic made anew is rid of these)"),
        )
        remarks = [f"Kafka has {_facts(found, self.partition)} {how}" for found, how in told if found]
        if self.malformed:
            remarks.append(f"Partition {self.partition} has no facts at the offsets {named(self.malformed)}")
        return remarks


def _facts(found: Ranges, partition: int) -> str:
    return f"{found.count} of the facts of partition {partition}: {named(found)}"


class Auditor:
    """Compares what a reader of Kafka gets with what the store has."""

    def __init__(self, *, log: StoreLog, reader: KafkaReader, considerate: bool = False) -> None:
        self._log = log
        self._reader = reader
        self._considerate = considerate
        self._chunks: OrderedDict[int, list[bytes]] = OrderedDict()

    async def audit(self, partition: int, copy: Copy, span: Span, expected: int) -> Findings:
        """Go on with a copy up to the end of the span, which was seen after `expected`; raises `KafkaError`."""
        self._chunks.clear()
        begun = time.monotonic()
        async for batch in self._reader.read(partition, max(copy.next_offset, span.first), span.end):
            for offset, value in batch:
                await self._compare(partition, copy, offset, value)
                copy.next_offset = offset + 1
            # Beside a relay it rests as long as it works, so that the relay is not the slower for it.
            await asyncio.sleep(time.monotonic() - begun if self._considerate else 0)
            begun = time.monotonic()
        return _findings(partition, copy, span, expected)

    async def _compare(self, partition: int, copy: Copy, offset: int, value: bytes | None) -> None:
        try:
            told = unseal(value or b"")
        except MalformedEnvelope:
            copy.malformed.add(offset)
            return
        if told.partition != partition or told.seq < 1:
            copy.malformed.add(offset)
            return
        recorded = await self._recorded(partition, told.seq)
        if recorded is None:
            copy.unknown.add(told.seq)
            return
        copy.take(told.seq, same=value == recorded or _same(told, unseal(recorded)))

    async def _recorded(self, partition: int, seq: int) -> bytes | None:
        number = (seq - 1) // _CHUNK
        chunk = self._chunks.get(number)
        if chunk is None or seq - number * _CHUNK > len(chunk):
            chunk = [seal(fact) for fact in await self._log.read_envelopes(partition, number * _CHUNK, _CHUNK)]
            self._chunks[number] = chunk
            if len(self._chunks) > _CHUNKS:
                self._chunks.popitem(last=False)
        at = seq - number * _CHUNK - 1
        return chunk[at] if at < len(chunk) else None


def _findings(partition: int, copy: Copy, span: Span, expected: int) -> Findings:
    lost, altered, mended = Ranges(), Ranges(), Ranges()
    for first, last in copy.right.missing(expected):
        for seq in range(first, last + 1):
            (altered if seq in copy.wrong else lost).add(seq)
    for first, last in copy.wrong:
        for seq in range(first, last + 1):
            if seq in copy.right:
                mended.add(seq)
    return Findings(
        partition=partition,
        expected=expected,
        last=copy.last,
        present=copy.right.count,
        records=span.end - span.first,
        lost=lost,
        altered=altered,
        unknown=copy.unknown,
        repeated=copy.repeated,
        late=copy.late,
        mended=mended,
        malformed=copy.malformed,
    )


def _same(one: Envelope, other: Envelope) -> bool:
    """Whether two facts say the same, however they are written: another version may order or space otherwise."""
    return _content(one) == _content(other)


def _content(fact: Envelope) -> tuple[object, ...]:
    return (
        (fact.partition, fact.seq, fact.stream, fact.version, fact.type, fact.schema_version, fact.recorded_at),
        msgspec.json.decode(fact.data),
        msgspec.json.decode(fact.metadata),
    )


async def repair(found: Findings, *, log: StoreLog, sender: KafkaSender) -> int:
    """Send again what is lost or altered, and wait until it is there; how many facts. Raises `KafkaError`."""
    sent = 0
    for first, last in [*found.lost, *found.altered]:
        after = first - 1
        while after < last:
            facts = await log.read_envelopes(found.partition, after, min(_RUN, last - after))
            if not facts:
                break
            acknowledged = sender.send(found.partition, [(fact.stream.encode(), seal(fact)) for fact in facts])
            if await acknowledged is None:
                raise NotAcknowledged(f"Kafka did not acknowledge facts {after + 1} to {facts[-1].seq}.")
            after = facts[-1].seq
            sent += len(facts)
    return sent
