"""The log as a topic of Kafka carries it, for whoever follows it; what the topic lacks is filled in from the store.

The store is the truth, and what is not about following is asked of it. While it is away, what Kafka has is followed all
the same; while Kafka is away, its follower waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from msgspec import Struct

from myevents.log.consuming import Follower, Term, TopicReader
from myevents.log.kafka_address import KafkaAddress
from myevents.log.store import PASSING, StoreLog
from myevents.log.window import Arrival, Hole, Window
from schema.facts import RecordedFact, UnreadableFact

_FILL: Final = 1000
"""Facts read from the store at once."""

_log = structlog.get_logger()


class Irregularities(Struct):
    """What the topic was found to do that it should not, since the process began."""

    repeated: int = 0
    """Facts that came again, and were dropped."""
    holes: int = 0
    """Ranges that it lacked."""
    malformed: int = 0
    """Records that are no facts of their partition."""
    filled: int = 0
    """Facts filled in from the store."""


class _Lane(Struct):
    """A partition that is ours for a term; its window is there once its reader told where he is."""

    term: Term
    window: Window | None = None
    told: Hole | None = None
    """The hole that was told of last, so that each is told once."""


class KafkaLog(Follower):
    """Follows a topic, its partitions shared out among the members of `group`, or all of them without one."""

    def __init__(
        self,
        *,
        store: StoreLog,
        address: KafkaAddress,
        group: str | None,
        irregular: Callable[[str, int], None] = lambda _kind, _number: None,
    ) -> None:
        """`irregular` is told of each irregularity, its name in `Irregularities` and how many there were."""
        self._store = store
        self._address, self._group = address, group
        self._reader: TopicReader | None = None
        self._lanes: dict[int, _Lane] = {}
        self._heads: dict[int, int] = {}
        self._woken = asyncio.Event()
        self._irregular = irregular
        self.irregularities = Irregularities()

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return self._store.partitions

    async def read(self, partition: int, after: int, limit: int = 1000) -> list[RecordedFact | UnreadableFact]:
        """The facts of `partition` after seq `after`; those that are not at hand from the store."""
        lane = self._lanes.get(partition)
        if lane is None or lane.window is None or after < lane.window.start:
            return await self._store.read(partition, after, limit)
        return lane.window.read(after, limit)

    async def read_stream(
        self, stream_id: str, after_version: int = 0, limit: int = 1000
    ) -> list[RecordedFact | UnreadableFact]:
        """The facts of one stream above a version, from the store."""
        return await self._store.read_stream(stream_id, after_version, limit)

    async def heads(self) -> dict[int, int]:
        """The seq of each partition's last fact in the store, which is the true one."""
        self._heads = await self._store.heads()
        return self._heads

    async def seen(self) -> dict[int, int]:
        """The same; while the store is away, what it had when it was last asked, and what came by Kafka since."""
        try:
            return await self.heads()
        except (TimeoutError, *PASSING):
            if not self._heads:
                raise
        arrived = {number: lane.window.end for number, lane in self._lanes.items() if lane.window is not None}
        return {number: max(head, arrived.get(number, 0)) for number, head in self._heads.items()}

    async def ahead(self, checkpoints: Mapping[int, int]) -> dict[int, int]:
        """How far the partitions that are ours can be read; it begins to follow the topic when it is first asked."""
        reader = self._following()
        for partition, after in checkpoints.items():
            if (lane := self._lanes.get(partition)) is not None:
                self._come_to(reader, lane, after)
        await self._fill()
        return {
            number: lane.window.end
            for number, lane in self._lanes.items()
            if lane.window is not None and number in checkpoints
        }

    async def changed(self, timeout: float) -> None:
        """Return once something may have come since the last call, or after `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        self._woken.clear()

    async def close(self) -> None:
        """Leave the group and stop following."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.end()
            await asyncio.to_thread(reader.join)

    def begun(self, term: Term) -> None:
        """A partition is ours; where to read it from is told when its reader next asks."""
        self._lanes[term.partition] = _Lane(term)
        self._woken.set()

    def came(self, term: Term, arrivals: list[Arrival]) -> None:
        """Put what came in order."""
        lane = self._lanes.get(term.partition)
        if lane is None or lane.term != term or lane.window is None:
            return
        repeated = lane.window.repeated
        lane.window.come(arrivals)
        self._count("repeated", lane.window.repeated - repeated)
        self._woken.set()

    def ended(self, term: Term) -> None:
        """A partition is somebody else's."""
        lane = self._lanes.get(term.partition)
        if lane is not None and lane.term == term:
            del self._lanes[term.partition]

    def _following(self) -> TopicReader:
        if self._reader is None:
            self._reader = TopicReader(
                address=self._address,
                partitions=self.partitions,
                group=self._group,
                follower=self,
                hand_over=asyncio.get_running_loop().call_soon_threadsafe,
            )
            self._reader.start()
        return self._reader

    def _come_to(self, reader: TopicReader, lane: _Lane, after: int) -> None:
        """Its reader has come to `after`; where that is before what is at hand, read the topic from there again."""
        if lane.window is None:
            lane.window = Window(after)
            reader.read_from(lane.term, after)
        elif after < lane.window.start:
            del self._lanes[lane.term.partition]
            reader.begin_again(lane.term)
        else:
            lane.window.forget(after)
            reader.keeps(lane.term, len(lane.window))
        reader.reached(lane.term.partition, after)

    async def _fill(self) -> None:
        """Fill in from the store what the topic lacks, one piece of each partition."""
        for lane in list(self._lanes.values()):
            window = lane.window
            if window is None or (hole := window.hole) is None:
                continue
            self._tell(lane, hole)
            limit = _FILL if hole.last is None else min(_FILL, hole.last - hole.after)
            try:
                facts = await self._store.read(lane.term.partition, hole.after, limit)
            except (TimeoutError, *PASSING) as error:
                # Other partitions go on meanwhile.
                _log.warning("hole_stays", partition=lane.term.partition, reason=type(error).__name__)
                continue
            self._count("filled", len(facts))
            window.fill(hole, facts)

    def _tell(self, lane: _Lane, hole: Hole) -> None:
        if hole == lane.told or (hole.last is not None and lane.told is not None and hole.last == lane.told.last):
            return
        lane.told = hole
        self._count("malformed" if hole.last is None else "holes", 1)
        _log.error(
            "log_irregular", topic=self._address.topic, partition=lane.term.partition, after=hole.after, last=hole.last
        )

    def _count(self, kind: str, number: int) -> None:
        if number:
            setattr(self.irregularities, kind, getattr(self.irregularities, kind) + number)
            self._irregular(kind, number)
