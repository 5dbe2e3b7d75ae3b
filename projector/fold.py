"""All read models as one plain fold of the whole log, in memory: what the tables must equal."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from projector import bookings, events, locations
from projector.model import UnfitFact
from schema.facts import BookingCancelled, EventCancelled, RecordedFact, SeatsBooked
from schema.read_models import BookingRow, EventRow, LocationRow


class Folded(msgspec.Struct):
    """The rows by id; a stream with a fact that does not fit stands in `unfit`, with the reason."""

    events: dict[str, EventRow] = {}
    locations: dict[str, LocationRow] = {}
    bookings: dict[str, BookingRow] = {}
    unfit: dict[str, str] = {}

    def placed(self) -> dict[str, EventRow]:
        """The events, each with its location as it is now."""
        return {
            row.id: events.placed(row, self.locations.get(row.location_id) if row.location_id else None)
            for row in self.events.values()
        }

    def take(self, facts: Iterable[RecordedFact]) -> None:
        """Fold in more facts, each stream's in order."""
        for fact in facts:
            if fact.stream_id in self.unfit:
                continue
            try:
                self._take(fact)
            except UnfitFact as error:
                self.unfit[fact.stream_id] = str(error)

    def _take(self, recorded: RecordedFact) -> None:
        stream = recorded.stream_id
        if stream.startswith("loc_"):
            self.locations[stream] = locations.fold(self.locations.get(stream), recorded)
            return
        self.events[stream] = events.fold(self.events.get(stream), recorded)
        match recorded.fact:
            case SeatsBooked() as fact:
                self.bookings[fact.booking_id] = bookings.booked(recorded, fact)
            case BookingCancelled() as fact:
                self.bookings[fact.booking_id] = bookings.cancelled(self.bookings.get(fact.booking_id), recorded)
            case EventCancelled():
                for row in self.bookings.values():
                    if row.event_id == stream and row.status == bookings.CONFIRMED:
                        self.bookings[row.id] = replace(
                            row,
                            status=bookings.CANCELLED,
                            updated_at=recorded.recorded_at,
                            version=recorded.version,
                        )
            case _:
                pass
