"""A consumer of the topic: how it is made, joins its group, and learns which partitions are its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from myevents.errors import MyEventsError
from myevents.log.kafka_address import KafkaAddress
from myevents.log.kafka_clients import KAFKA_AWAY, made

RECORDS: Final = 1000
"""Records that a poll gives at once."""

_POLL: Final = 100
"""Milliseconds that a poll waits; as long as a broker holds back its answer when there is nothing."""

_LONG_POLL: Final = 300
"""Milliseconds that a poll waits while the group shares its partitions out anew."""

_SESSION: Final = 6000
"""Milliseconds after which a member that is not heard of loses its partitions; brokers allow no less."""

_DEADLINE: Final = 5000
"""Milliseconds to wait for an answer."""

_JOIN: Final = 15_000
"""Milliseconds that a rebalance waits for a member, and half of what a member waits before it begins anew."""


class WrongTopic(MyEventsError):
    """The topic is not there, or has another number of partitions than the log."""


class NotJoined(MyEventsError):
    """The group does not come to rest, or this member was forgotten."""


class Membership:
    """All partitions of a topic without a group, those that fall to it with one. Used by one thread."""

    def __init__(self, address: KafkaAddress, partitions: int, group: str | None) -> None:
        """Connect and subscribe; raises `WrongTopic`, and `KafkaError` where Kafka is away."""
        self._topic, self._partitions, self._group = address.topic, partitions, group
        self._changes: deque[tuple[bool, list[int]]] = deque()
        self._settled_at = time.monotonic()
        self._consumer = _consumer(address, group)
        try:
            self._subscribe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the group, so that others need not wait for this one's end."""
        with suppress(*KAFKA_AWAY):
            self._consumer.close(autocommit=False, timeout_ms=2000)

    def at(self, partition: int) -> TopicPartition:
        """What Kafka calls it."""
        return TopicPartition(self._topic, partition)

    def poll(self) -> dict[TopicPartition, list[Any]]:
        """What has come, and before that what a rebalance changes; raises `NotJoined`."""
        self._take_up_what_waited()
        records: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=self._patience(), max_records=RECORDS)
        return records

    def _take_up_what_waited(self) -> None:
        """Have the library hand over what it kept of partitions that were paused and go on.

        It looks for that only where it has no batch in hand, and does not let go of a batch that is used up.
        """
        fetcher = self._consumer._fetcher
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None

    def changes(self, known: Collection[int]) -> Iterable[tuple[bool, int]]:
        """What is ours (again) or no longer since the last call, as seen by who knew those partitions as ours."""
        ours = set(known)
        while self._changes:
            gained, partitions = self._changes.popleft()
            for number in partitions:
                if number in ours:
                    ours.discard(number)
                    yield False, number
                if gained and self.at(number) in self._consumer.assignment():
                    ours.add(number)
                    yield True, number
        # What the library did not tell of.
        assigned = {each.partition for each in self._consumer.assignment()}
        yield from ((False, number) for number in sorted(ours - assigned))
        yield from ((True, number) for number in sorted(assigned - ours))

    def spans(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """The first offset of each, and the one after its last."""
        if not partitions:
            return {}
        asked = [self.at(number) for number in partitions]
        first = self._consumer.beginning_offsets(asked, timeout_ms=_DEADLINE)
        end = self._consumer.end_offsets(asked, timeout_ms=_DEADLINE)
        return {each.partition: (first[each], end[each]) for each in asked}

    def hint(self, partition: int) -> tuple[int, int] | None:
        """An offset that a member of the group left, and the seq of the fact before it."""
        if self._group is not None:
            left = self._consumer.committed(self.at(partition), metadata=True, timeout_ms=_DEADLINE)
            if left is not None and left.metadata.isdecimal():
                return left.offset, int(left.metadata)
        return None

    def leave(self, hints: Mapping[int, tuple[int, int]]) -> None:
        """Commit such hints; whether that succeeds is of no importance."""
        if hints and self._group is not None:
            self._consumer.commit_async(
                {self.at(number): OffsetAndMetadata(offset, str(seq), -1) for number, (offset, seq) in hints.items()}
            )

    def seek(self, partition: int, offset: int) -> bool:
        """Read on from there; False where the partition was taken away this moment, as by the others below."""
        with suppress(ValueError, KeyError):
            self._consumer.seek(self.at(partition), offset)
            return self.resume(partition)
        return False

    def pause(self, partition: int) -> bool:
        """Read nothing of it for now."""
        with suppress(ValueError, KeyError):
            self._consumer.pause(self.at(partition))
            return True
        return False

    def resume(self, partition: int) -> bool:
        """Go on reading it."""
        with suppress(ValueError, KeyError):
            self._consumer.resume(self.at(partition))
            return True
        return False

    def _subscribe(self) -> None:
        if self._group is not None:
            self._consumer.subscribe([self._topic], listener=_Listener(self._changes))
        # Asked for before the group is joined: a member that learns of partitions later joins again at once, and where
        # that takes longer than a poll, the library forgets that it has joined, and is in no group for ever.
        self._consumer.topics()
        found = self._consumer.partitions_for_topic(self._topic)
        if found != set(range(self._partitions)):
            raise WrongTopic(f"topic {self._topic} has {len(found)} partitions, the log has {self._partitions}")
        if self._group is None:
            every = list(range(self._partitions))
            self._consumer.assign([self.at(number) for number in every])
            self._changes.append((True, every))

    def _patience(self) -> int:
        """Milliseconds to poll. A join that is answered between two polls is begun again, so that it gets long ones."""
        now = time.monotonic()
        if self._group is None or self._consumer.group_metadata().state == MemberState.STABLE:
            self._settled_at = now
            return _POLL
        if now - self._settled_at > 2 * _JOIN / 1000:
            raise NotJoined(f"no place in the group {self._group} after {2 * _JOIN / 1000:.0f} s")
        return _LONG_POLL


def _consumer(address: KafkaAddress, group: str | None) -> Any:
    return made(
        KafkaConsumer,
        address,
        client_id=f"myevents-{group or 'reader'}",
        group_id=group,
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
        max_poll_records=RECORDS,
        metrics_enabled=False,
    )


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
