"""The thread that owns a KafkaConsumer, which may be touched by one thread alone, and hands over what it reads.

It polls on whatever the loop does, so that it stays in its group; what the loop has not let go of is bounded, since
the partitions of which it has too much are paused. Offsets are only a hint: where to read on is told by the loop, as a
seq, and looked for in the topic.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from msgspec import MsgspecError, Struct

from myevents.errors import MyEventsError
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import KAFKA_AWAY
from myevents.log.membership import Membership
from myevents.log.placing import Placing
from myevents.log.window import Arrival
from schema.envelope import opened, unseal

ROOM: Final = 4000
"""Facts of a partition that are handed over and not let go of, after which it is paused."""

_COMMIT: Final = 5.0
"""Seconds between two commits of offsets."""

_PAUSE: Final = 0.5
_log = structlog.get_logger()


class Term(Struct, frozen=True):
    """A time for which a partition is this consumer's; what comes late of an earlier one is not taken."""

    partition: int
    number: int


class Follower:
    """What the loop does with what is handed over; called in the loop."""

    def begun(self, term: Term) -> None:
        """A partition is ours: tell where to read it from."""

    def came(self, term: Term, arrivals: list[Arrival]) -> None:
        """Records of it, in order."""

    def ended(self, term: Term) -> None:
        """It is no longer ours."""


class _Reading:
    """Where the thread stands with a partition."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.placing: Placing | None = None
        self.paused = True
        self.marks: deque[tuple[int, int]] = deque()
        """Offsets, and the seqs of the facts before them, to know what to commit."""


class TopicReader(threading.Thread):
    """Follows all partitions of a topic, or with a group those that fall to it."""

    def __init__(
        self,
        *,
        address: KafkaAddress,
        partitions: int,
        group: str | None,
        follower: Follower,
        hand_over: Callable[..., object],
    ) -> None:
        """`hand_over` calls its first argument with the others in the loop, as `call_soon_threadsafe` does."""
        super().__init__(name=f"kafka {group or address.topic}", daemon=True)
        self._address, self._topic, self._partitions, self._group = address, address.topic, partitions, group
        self._follower, self._hand_over = follower, hand_over
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._kept: dict[Term, int] = {}
        self._reached: dict[int, int] = {}
        self._places: dict[Term, int] = {}
        self._again: set[Term] = set()
        self._readings: dict[int, _Reading] = {}
        self._terms = 0
        self._committed_at = 0.0

    # Called by the loop.

    def read_from(self, term: Term, after: int) -> None:
        """Hand over what comes after the seq `after`."""
        with self._lock:
            self._places[term] = after
            self._kept[term] = 0

    def begin_again(self, term: Term) -> None:
        """End this term and begin another, so that nothing of this one comes late into the other."""
        with self._lock:
            self._again.add(term)

    def keeps(self, term: Term, count: int) -> None:
        """So many facts of those handed over are still kept."""
        with self._lock:
            self._kept[term] = count

    def reached(self, partition: int, seq: int) -> None:
        """All up to `seq` is applied: its offset may be committed."""
        self._reached[partition] = seq

    def end(self) -> None:
        """Let it come to its end, which takes some seconds at most."""
        self._ended.set()

    # The thread's own.

    def run(self) -> None:
        """Follow until ended; what Kafka does not answer is asked again."""
        while not self._ended.is_set():
            try:
                self._consume()
            except Exception as error:
                # Whatever it was, a new consumer begins from the checkpoints.
                told = _log.warning if isinstance(error, (MyEventsError, *KAFKA_AWAY)) else _log.exception
                told("kafka_waits", topic=self._topic, reason=f"{type(error).__name__}: {error}")
            self._ended.wait(random.uniform(_PAUSE, 2 * _PAUSE))

    def _consume(self) -> None:
        member = Membership(self._address, self._partitions, self._group)
        try:
            while not self._ended.is_set():
                self._place(member)
                self._make_room(member)
                self._commit(member)
                batches = member.poll()
                self._assign(member)
                for partition, records in batches.items():
                    self._take(member, partition.partition, records)
        finally:
            for reading in list(self._readings.values()):
                self._end(reading)
            member.close()

    def _assign(self, member: Membership) -> None:
        """Take note of what a rebalance changed."""
        changes = list(member.changes(self._readings))
        for ours, number in changes:
            if ours:
                self._begin(member, number)
            else:
                self._end(self._readings[number])
        if changes:
            _log.info("partitions_followed", group=self._group, partitions=sorted(self._readings))

    def _begin(self, member: Membership, number: int) -> None:
        member.pause(number)
        self._terms += 1
        reading = self._readings[number] = _Reading(Term(number, self._terms))
        self._hand_over(self._follower.begun, reading.term)

    def _end(self, reading: _Reading) -> None:
        del self._readings[reading.term.partition]
        with self._lock:
            self._kept.pop(reading.term, None)
            self._places.pop(reading.term, None)
        self._hand_over(self._follower.ended, reading.term)

    def _place(self, member: Membership) -> None:
        """Begin to look for the places that the loop asked for."""
        with self._lock:
            asked, self._places = self._places, {}
            again, self._again = self._again, set()
        for reading in [each for each in self._readings.values() if each.term in again]:
            self._end(reading)
            self._begin(member, reading.term.partition)
        wanted = {
            term.partition: after
            for term, after in asked.items()
            if term.partition in self._readings and self._readings[term.partition].term == term
        }
        for number, (first, end) in member.spans(wanted).items():
            reading, after = self._readings[number], wanted[number]
            reading.marks.clear()
            offset, seq = member.hint(number) or (0, 0)
            # A fact's offset is its seq less one, or further by what was repeated before the hint.
            guess = max(0, offset + after - seq)
            reading.placing = Placing(after=after, first=first, end=end, guess=guess)
            reading.paused = not member.seek(number, reading.placing.offset)

    def _make_room(self, member: Membership) -> None:
        """Pause what the loop has too much of, and go on with what it has let go of."""
        with self._lock:
            kept = self._kept = {each.term: self._kept.get(each.term, 0) for each in self._readings.values()}
        for number, reading in self._readings.items():
            if reading.placing is None or not reading.placing.found:
                continue
            count = kept[reading.term]
            if count >= ROOM and not reading.paused:
                reading.paused = member.pause(number)
            elif count <= ROOM // 2 and reading.paused:
                reading.paused = not member.resume(number)

    def _take(self, member: Membership, number: int, records: Sequence[Any]) -> None:
        reading = self._readings.get(number)
        if reading is None or reading.placing is None or not records:
            return
        if not reading.placing.found:
            asked, seen = reading.placing.offset, records[0]
            # Before what was asked for: the topic was cut off, and reading begins anew at its start.
            arrival = None if seen.offset < asked else _arrival(number, seen.value)
            reading.placing.saw(None if arrival is None else arrival.seq)
            if not (reading.placing.found and reading.placing.offset == seen.offset):
                reading.paused = not member.seek(number, reading.placing.offset)
                return
        arrivals = [_arrival(number, record.value) for record in records]
        last = arrivals[-1]
        if last is not None:
            reading.marks.append((records[-1].offset + 1, last.seq))
        with self._lock:
            self._kept[reading.term] = self._kept.get(reading.term, 0) + len(arrivals)
        self._hand_over(self._follower.came, reading.term, arrivals)

    def _commit(self, member: Membership) -> None:
        """Leave hints for whoever reads on, and for those who look at the group from outside."""
        now = time.monotonic()
        if now - self._committed_at < _COMMIT:
            return
        self._committed_at = now
        hints = {}
        for number, reading in self._readings.items():
            seq = self._reached.get(number, 0)
            while reading.marks and reading.marks[0][1] <= seq:
                hints[number] = reading.marks.popleft()
        member.leave(hints)


def _arrival(partition: int, value: bytes | None) -> Arrival:
    try:
        envelope = unseal(value or b"")
        return opened(envelope) if envelope.partition == partition else None
    except (ValueError, MsgspecError):
        return None
