"""The read model of locations."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from projector.model import Connection, UnfitFact, follows, load, upsert
from schema.facts import (
    HallAdded,
    HallChanged,
    HallRemoved,
    LocationChanged,
    LocationCreated,
    LocationFact,
    RecordedFact,
)
from schema.read_models import LocationRow


def fold(row: LocationRow | None, recorded: RecordedFact) -> LocationRow:
    """The location's row after one more fact; raises `UnfitFact`."""
    follows(row.version if row else 0, recorded)
    fact = recorded.fact
    if not isinstance(fact, LocationFact):
        raise UnfitFact(recorded, "it is no fact of a location")
    if isinstance(fact, LocationCreated | LocationChanged):
        halls = fact.halls if isinstance(fact, LocationCreated) else row.halls if row else ()
        return LocationRow(
            id=recorded.stream_id, version=recorded.version, halls=halls, **msgspec.structs.asdict(fact.details)
        )
    if row is None:
        raise UnfitFact(recorded, "there is no such location")
    match fact:
        case HallAdded():
            halls = (*row.halls, fact.hall)
        case HallChanged():
            halls = tuple(fact.hall if hall.hall_id == fact.hall.hall_id else hall for hall in row.halls)
        case HallRemoved():
            halls = tuple(hall for hall in row.halls if hall.hall_id != fact.hall_id)
    return msgspec.structs.replace(row, halls=halls, version=recorded.version)


class Locations:
    """One row a location, with its halls."""

    name = "locations"
    version = 1

    async def apply(self, connection: Connection, build: int, facts: Sequence[RecordedFact]) -> None:
        """Fold each location's facts into its row."""
        ours = [fact for fact in facts if fact.stream_id.startswith("loc_")]
        if not ours:
            return
        table = f"locations_{build:d}"
        rows = await load(connection, table, LocationRow, {fact.stream_id for fact in ours})
        for fact in ours:
            rows[fact.stream_id] = fold(rows.get(fact.stream_id), fact)
        await upsert(connection, table, list(rows.values()))

    async def forget(self, connection: Connection, build: int, stream_id: str) -> None:
        """Delete the location's row."""
        await connection.execute(f"delete from read.locations_{build:d} where id = $1", stream_id)
