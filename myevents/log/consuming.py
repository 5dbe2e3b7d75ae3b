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
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState
from msgspec import MsgspecError, Struct

from myevents.errors import MyEventsError
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import KAFKA_AWAY, made
from myevents.log.placing import Placing
from myevents.log.window import Arrival
from schema.envelope import opened, unseal

ROOM: Final = 4000
"""Facts of a partition that are handed over and not let go of, after which it is paused."""

_POLL: Final = 100
"""Milliseconds that a poll waits; as long as a broker holds back its answer when there is nothing."""

_LONG_POLL: Final = 300
"""Milliseconds that a poll waits while the group shares its partitions out anew."""

_RECORDS: Final = 1000
"""Records handed over at once."""

_JOIN: Final = 15_000
"""Milliseconds that a rebalance waits for a member, and a member for a rebalance, before it begins anew."""

_COMMIT: Final = 5.0
"""Seconds between two commits of offsets."""

_SESSION: Final = 6000
"""Milliseconds after which a member that is not heard of loses its partitions; brokers allow no less."""

_DEADLINE: Final = 5000
_PAUSE: Final = 0.5
_log = structlog.get_logger()


class WrongTopic(MyEventsError):
    """The topic is not there, or has another number of partitions than the log."""


class NotJoined(MyEventsError):
    """The group does not come to rest, or this member was forgotten."""


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
        """Seqs and their offsets, to know what to commit."""


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
        self._changes: deque[tuple[bool, list[int]]] = deque()
        self._readings: dict[int, _Reading] = {}
        self._terms = 0
        self._committed_at = self._settled_at = 0.0

    # Called by the loop.

    def read_from(self, term: Term, after: int) -> None:
        """Hand over what comes after the seq `after`."""
        with self._lock:
            self._places[term] = after
            self._kept[term] = 0

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
        consumer = self._opened()
        try:
            self._subscribe(consumer)
            while not self._ended.is_set():
                self._place(consumer)
                self._make_room(consumer)
                self._commit(consumer)
                batches = consumer.poll(timeout_ms=self._patience(consumer), max_records=_RECORDS)
                self._assign(consumer)
                for partition, records in batches.items():
                    self._take(consumer, partition.partition, records)
        finally:
            self._changes.clear()
            for reading in list(self._readings.values()):
                self._end(reading)
            with suppress(*KAFKA_AWAY):
                consumer.close(autocommit=False, timeout_ms=2000)

    def _opened(self) -> Any:
        return made(
            KafkaConsumer,
            self._address,
            client_id=f"myevents-{self._group or 'reader'}",
            group_id=self._group,
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            session_timeout_ms=_SESSION,
            heartbeat_interval_ms=_SESSION // 6,
            max_poll_interval_ms=_JOIN,
            fetch_max_wait_ms=_POLL,
            max_partition_fetch_bytes=1 << 19,
            fetch_max_bytes=1 << 23,
            max_poll_records=_RECORDS,
            metrics_enabled=False,
        )

    def _subscribe(self, consumer: Any) -> None:
        if self._group is not None:
            consumer.subscribe([self._topic], listener=_Listener(self._changes))
        # Asked for before the group is joined: a member that learns of partitions later joins again at once, and where
        # that takes longer than a poll, the library forgets that it has joined, and is in no group for ever.
        consumer.topics()
        found = consumer.partitions_for_topic(self._topic)
        if found != set(range(self._partitions)):
            raise WrongTopic(f"topic {self._topic} has {len(found)} partitions, the log has {self._partitions}")
        if self._group is None:
            every = list(range(self._partitions))
            consumer.assign([self._at(number) for number in every])
            self._changes.append((True, every))
        self._settled_at = time.monotonic()

    def _patience(self, consumer: Any) -> int:
        """Milliseconds to poll. A join that is answered between two polls is begun again, so that it gets long ones."""
        if self._group is None or consumer.group_metadata().state == MemberState.STABLE:
            self._settled_at = time.monotonic()
            return _POLL
        if time.monotonic() - self._settled_at > 2 * _JOIN / 1000:
            raise NotJoined(f"no place in the group {self._group} after {2 * _JOIN / 1000:.0f} s")
        return _LONG_POLL

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _assign(self, consumer: Any) -> None:
        """Take note of what a rebalance changed."""
        before = {number: reading.term for number, reading in self._readings.items()}
        while self._changes:
            ours, partitions = self._changes.popleft()
            for number in partitions:
                if number in self._readings:
                    self._end(self._readings[number])
                if ours:
                    self._begin(consumer, number)
        assigned = {each.partition for each in consumer.assignment()}
        for number in self._readings.keys() - assigned:
            self._end(self._readings[number])
        for number in assigned - self._readings.keys():
            self._begin(consumer, number)
        if before != {number: reading.term for number, reading in self._readings.items()}:
            _log.info("partitions_followed", group=self._group, partitions=sorted(self._readings))

    def _begin(self, consumer: Any, number: int) -> None:
        if self._at(number) not in consumer.assignment():
            return
        consumer.pause(self._at(number))
        self._terms += 1
        reading = self._readings[number] = _Reading(Term(number, self._terms))
        self._hand_over(self._follower.begun, reading.term)

    def _end(self, reading: _Reading) -> None:
        del self._readings[reading.term.partition]
        with self._lock:
            self._kept.pop(reading.term, None)
            self._places.pop(reading.term, None)
        self._hand_over(self._follower.ended, reading.term)

    def _place(self, consumer: Any) -> None:
        """Begin to look for the places that the loop asked for."""
        with self._lock:
            asked, self._places = self._places, {}
        wanted = {
            self._at(term.partition): after
            for term, after in asked.items()
            if term.partition in self._readings and self._readings[term.partition].term == term
        }
        if not wanted:
            return
        first = consumer.beginning_offsets(list(wanted), timeout_ms=_DEADLINE)
        end = consumer.end_offsets(list(wanted), timeout_ms=_DEADLINE)
        for partition, after in wanted.items():
            reading = self._readings[partition.partition]
            reading.marks.clear()
            guess = self._guess(consumer, partition, after)
            reading.placing = Placing(after=after, first=first[partition], end=end[partition], guess=guess)
            self._seek(consumer, reading)

    def _guess(self, consumer: Any, partition: TopicPartition, after: int) -> int:
        """The offset after a committed one by as much as the seqs differ; the seq itself where none is."""
        if self._group is not None:
            committed = consumer.committed(partition, metadata=True, timeout_ms=_DEADLINE)
            if committed is not None and committed.metadata.isdecimal():
                return max(0, int(committed.offset) + after - int(committed.metadata))
        return after

    def _seek(self, consumer: Any, reading: _Reading) -> None:
        assert reading.placing is not None
        partition = self._at(reading.term.partition)
        with suppress(ValueError):  # It was taken away this moment.
            consumer.seek(partition, reading.placing.offset)
            consumer.resume(partition)
            reading.paused = False

    def _make_room(self, consumer: Any) -> None:
        """Pause what the loop has too much of, and go on with what it has let go of."""
        with self._lock:
            kept = dict(self._kept)
        for number, reading in self._readings.items():
            if reading.placing is None or not reading.placing.found:
                continue
            count = kept.get(reading.term, 0)
            with suppress(ValueError, KeyError):  # It was taken away this moment.
                if count >= ROOM and not reading.paused:
                    consumer.pause(self._at(number))
                    reading.paused = True
                elif count <= ROOM // 2 and reading.paused:
                    consumer.resume(self._at(number))
                    reading.paused = False

    def _take(self, consumer: Any, number: int, records: Sequence[Any]) -> None:
        reading = self._readings.get(number)
        if reading is None or reading.placing is None or not records:
            return
        if not reading.placing.found:
            asked, seen = reading.placing.offset, records[0]
            # Before what was asked for: the topic was cut off, and reading begins anew at its start.
            arrival = None if seen.offset < asked else _arrival(number, seen.value)
            reading.placing.saw(None if arrival is None else arrival.seq)
            if not (reading.placing.found and reading.placing.offset == seen.offset):
                self._seek(consumer, reading)
                return
        arrivals = [_arrival(number, record.value) for record in records]
        last = arrivals[-1]
        if last is not None:
            reading.marks.append((last.seq, records[-1].offset))
        with self._lock:
            self._kept[reading.term] = self._kept.get(reading.term, 0) + len(arrivals)
        self._hand_over(self._follower.came, reading.term, arrivals)

    def _commit(self, consumer: Any) -> None:
        """Leave a hint for whoever reads on, and for those who look at the group from outside."""
        now = time.monotonic()
        if self._group is None or now - self._committed_at < _COMMIT:
            return
        self._committed_at = now
        offsets = {}
        for number, reading in self._readings.items():
            seq, passed = self._reached.get(number, 0), None
            while reading.marks and reading.marks[0][0] <= seq:
                passed = reading.marks.popleft()
            if passed is not None:
                offsets[self._at(number)] = OffsetAndMetadata(passed[1] + 1, str(passed[0]), -1)
        if offsets:
            consumer.commit_async(offsets)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Writes down what a rebalance changes; it is called by a thread of the library, which it must not hold up."""

    def __init__(self, changes: deque[tuple[bool, list[int]]]) -> None:
        self._changes = changes

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._changes.append((False, _numbers(revoked)))

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._changes.append((True, _numbers(assigned)))


def _numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted(each.partition for each in partitions)


def _arrival(partition: int, value: bytes | None) -> Arrival:
    try:
        envelope = unseal(value or b"")
        return opened(envelope) if envelope.partition == partition else None
    except (ValueError, MsgspecError):
        return None
