"""Folds facts into what an index has, and brings it into the index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from myevents.log.port import Log
from myevents.search.port import SearchIndex
from projector import events, locations
from projector.faults import FOLD_FAULTS, reason_of
from projector.model import traceparents_of
from projector.search_registry import Parked
from schema.facts import EventCreated, EventMoved, LocationFact, RecordedFact, UnreadableFact
from schema.read_models import EventRow, LocationRow

BATCH: Final = 5000
"""Facts written in one commit."""

_UNREADABLE: Final = "a row of the index cannot be read"
Row = TypeVar("Row", EventRow, LocationRow)


class Taken(Struct, frozen=True, kw_only=True):
    """What a round brought into the index; where there was nothing to take, its checkpoints are not told."""

    facts: int
    traceparents: list[str]
    checkpoints: dict[int, int]
    parked: list[Parked]


async def take(
    index: SearchIndex, log: Log, heads: Mapping[int, int], parked: Collection[str], *, batch: int = BATCH
) -> Taken:
    """Bring up to `batch` facts, none beyond `heads`, into the index, rows first, then checkpoints.

    What another process wrote and could not finish does no harm: facts that a row has are passed over, and every
    row in hand is placed anew.
    """
    checkpoints = await index.checkpoints()
    facts: list[RecordedFact | UnreadableFact] = []
    moved: dict[int, int] = {}
    for partition, head in heads.items():
        seq = checkpoints.get(partition, 0)
        if seq < head and len(facts) < batch:
            read = await log.read(partition, seq, min(batch - len(facts), head - seq))
            facts += read
            moved[partition] = read[-1].seq if read else seq
    if not facts:
        return Taken(facts=0, traceparents=[], checkpoints={}, parked=[])
    folding = await _folding(index, [fact for fact in facts if fact.stream_id not in parked])
    await index.write(list(folding.events.values()), list(folding.moved.values()), moved, since=checkpoints)
    # All of them: an index that was lost meanwhile is behind in every partition.
    everywhere = {partition: checkpoints.get(partition, 0) for partition in heads} | moved
    return Taken(
        facts=len(facts),
        traceparents=[*traceparents_of(facts)],
        checkpoints=everywhere,
        parked=list(folding.parked.values()),
    )


class _Folding(Struct):
    """Rows in hand: events, the locations known to place them in, those of them that changed, streams set aside."""

    events: dict[str, EventRow]
    known: dict[str, LocationRow]
    moved: dict[str, LocationRow]
    parked: dict[str, Parked]

    def take(self, fact: RecordedFact | UnreadableFact) -> None:
        """Fold one more fact in, or set its stream aside."""
        if fact.stream_id in self.parked:
            return
        try:
            if isinstance(fact, UnreadableFact):
                self.park(fact, fact.reason)
            elif isinstance(fact.fact, LocationFact):
                place = self.known.get(fact.stream_id)
                if place is None or place.version < fact.version:
                    place = locations.fold(place, fact)
                self.known[fact.stream_id] = self.moved[fact.stream_id] = place
            else:
                row = self.events.get(fact.stream_id)
                if row is None or row.version < fact.version:
                    self.events[fact.stream_id] = events.fold(row, fact)
        except FOLD_FAULTS as error:
            self.park(fact, reason_of(error))

    def park(self, fact: RecordedFact | UnreadableFact, reason: str) -> None:
        """Set the fact's stream aside."""
        self.parked[fact.stream_id] = Parked(fact.stream_id, fact.partition, fact.seq, reason)


async def _folding(index: SearchIndex, facts: Sequence[RecordedFact | UnreadableFact]) -> _Folding:
    """Fold facts of any partitions onto what the index has; every event stands in its location as it is then.

    Streams whose facts need a row of the index that cannot be read are parked.
    """
    firsts = {fact.stream_id: fact for fact in reversed(facts)}
    rows, bad_rows = await _readable(index.events, {stream for stream in firsts if stream.startswith("evt_")})
    places = {fact.stream_id for fact in facts if fact.stream_id.startswith("loc_")}
    places |= {row.location_id for row in rows.values() if row.location_id is not None}
    for fact in facts:
        content = fact.fact if isinstance(fact, RecordedFact) else None
        if isinstance(content, EventCreated | EventMoved) and content.location_id is not None:
            places.add(content.location_id)
    known, bad_places = await _readable(index.locations, places)
    folding = _Folding(rows, known, {}, {})
    for stream in (bad_rows | bad_places) & firsts.keys():
        folding.park(firsts[stream], _UNREADABLE)
    for fact in facts:
        folding.take(fact)
    for stream in [key for key, row in folding.events.items() if row.location_id in bad_places]:
        del folding.events[stream]
        folding.park(firsts[stream], _UNREADABLE)
    neighbours, bad_places = await _readable(lambda at: _events_at(index, at), folding.moved)
    for place in bad_places:
        del folding.moved[place]
        folding.park(firsts[place], _UNREADABLE)
    for row in neighbours.values():
        folding.events.setdefault(row.id, row)
    for row in folding.events.values():
        folding.events[row.id] = events.placed(row, folding.known.get(row.location_id or ""))
    return folding


async def _events_at(index: SearchIndex, places: Collection[str]) -> dict[str, EventRow]:
    return {row.id: row for row in await index.events_at(places)}


async def _readable(
    read: Callable[[Collection[str]], Awaitable[dict[str, Row]]], ids: Collection[str]
) -> tuple[dict[str, Row], set[str]]:
    """The rows that `read` finds by `ids`, and the ids that cannot be read: then each is read by itself."""
    try:
        return await read(ids), set()
    except msgspec.MsgspecError:
        rows, bad = dict[str, Row](), set[str]()
    for each in ids:
        try:
            rows |= await read((each,))
        except msgspec.MsgspecError:
            bad.add(each)
    return rows, bad
