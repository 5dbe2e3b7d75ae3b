"""The read models as plain folds in memory: what the tables must equal. Each takes the facts its model has applied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from projector import bookings, events, locations
from schema.facts import BookingCancelled, EventCancelled, RecordedFact, SeatsBooked
from schema.read_models import BookingRow, EventRow, LocationRow


class EventLocationRow(Struct, frozen=True, kw_only=True):
    """A location as the events model remembers it; None until its facts have come."""

    id: str
    location: LocationRow | None


class Fold(Protocol):
    """Facts in, each stream's in order; rows out."""

    def take(self, recorded: RecordedFact) -> None:
        """Fold in one more fact; raises `UnfitFact`."""

    def tables(self) -> dict[str, dict[str, Struct]]:
        """The rows by id of each of the model's tables."""


class EventsFold:
    """What `projector.events.Events` has in its tables."""

    def __init__(self) -> None:
        self._events: dict[str, EventRow] = {}
        self._locations: dict[str, LocationRow] = {}

    def take(self, recorded: RecordedFact) -> None:
        """Fold in a fact of an event or a location."""
        stream = recorded.stream_id
        if stream.startswith("loc_"):
            self._locations[stream] = locations.fold(self._locations.get(stream), recorded)
        else:
            self._events[stream] = events.fold(self._events.get(stream), recorded)

    def tables(self) -> dict[str, dict[str, Struct]]:
        """The events, each with its location as it is now, and the locations."""
        return {
            "events": {
                row.id: events.placed(row, self._locations.get(row.location_id) if row.location_id else None)
                for row in self._events.values()
            },
            "event_locations": {row.id: EventLocationRow(id=row.id, location=row) for row in self._locations.values()},
        }


class LocationsFold:
    """What `projector.locations.Locations` has in its table."""

    def __init__(self) -> None:
        self._locations: dict[str, LocationRow] = {}

    def take(self, recorded: RecordedFact) -> None:
        """Fold in a fact of a location; pass over all others."""
        if recorded.stream_id.startswith("loc_"):
            self._locations[recorded.stream_id] = locations.fold(self._locations.get(recorded.stream_id), recorded)

    def tables(self) -> dict[str, dict[str, Struct]]:
        """The locations."""
        return {"locations": dict(self._locations)}


class BookingsFold:
    """What `projector.bookings.Bookings` has in its table."""

    def __init__(self) -> None:
        self._bookings: dict[str, dict[str, BookingRow]] = defaultdict(dict)

    def take(self, recorded: RecordedFact) -> None:
        """Fold in a fact of a booking, or the end of all of an event's."""
        match recorded.fact:
            case SeatsBooked() as fact:
                self._bookings[recorded.stream_id][fact.booking_id] = bookings.booked(recorded, fact)
            case BookingCancelled() as fact:
                rows = self._bookings[recorded.stream_id]
                rows[fact.booking_id] = bookings.cancelled(rows.get(fact.booking_id), recorded)
            case EventCancelled():
                rows = self._bookings[recorded.stream_id]
                for row in rows.values():
                    if row.status == bookings.CONFIRMED:
                        rows[row.id] = replace(
                            row, status=bookings.CANCELLED, updated_at=recorded.recorded_at, version=recorded.version
                        )
            case _:
                pass

    def tables(self) -> dict[str, dict[str, Struct]]:
        """The bookings."""
        return {"bookings": {key: row for rows in self._bookings.values() for key, row in rows.items()}}


FOLDS: Mapping[str, type[EventsFold] | type[LocationsFold] | type[BookingsFold]] = {
    "events": EventsFold,
    "locations": LocationsFold,
    "bookings": BookingsFold,
}
"""The fold of each read model that is held against the log, by the model's name."""

KINDS: Mapping[str, type[Struct]] = {
    "events": EventRow,
    "event_locations": EventLocationRow,
    "locations": LocationRow,
    "bookings": BookingRow,
}
"""The rows of each of their tables."""
