"""The facts: what may stand in the log. Frozen, typed, versioned; in the past tense; without personal data.

A field is only ever added with a default. Anything else is a new `SCHEMA_VERSIONS` entry and an upcaster in
`schema.codec`; `schema/json/` holds each fact's JSON Schema, and a test fails where the two differ.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, get_args

from msgspec import Struct

from schema.values import Hall as Hall
from schema.values import Line as Line
from schema.values import Money as Money
from schema.values import Record
from schema.values import TicketType as TicketType


class LocationDetails(Record, frozen=True, kw_only=True):
    """What describes a location; opening and closing in whole hours of local time, 0 to 24."""

    name: str
    address: str | None = None
    city: str | None = None
    country: str
    latitude: float | None = None
    longitude: float | None = None
    open_time: int | None = None
    close_time: int | None = None


class EventDetails(Record, frozen=True, kw_only=True):
    """What describes an event and changes neither time, place nor seats."""

    name: str
    description: str | None = None
    url: str | None = None
    topics: tuple[str, ...] = ()
    seats_per_person: int | None = None


class LocationCreated(Record, frozen=True, kw_only=True):
    details: LocationDetails
    halls: tuple[Hall, ...] = ()


class LocationChanged(Record, frozen=True, kw_only=True):
    """Carries all details as they are from now on, changed or not."""

    details: LocationDetails


class HallAdded(Record, frozen=True, kw_only=True):
    hall: Hall


class HallChanged(Record, frozen=True, kw_only=True):
    hall: Hall


class HallRemoved(Record, frozen=True, kw_only=True):
    hall_id: str


class EventCreated(Record, frozen=True, kw_only=True):
    """A draft; `EventPublished` opens it to the public. Times are UTC; `capacity` in seats."""

    details: EventDetails
    starts_at: datetime
    ends_at: datetime
    time_zone: str | None = None
    location_id: str | None = None
    hall_id: str | None = None
    online: bool = False
    capacity: int
    ticket_types: tuple[TicketType, ...]
    organizer_id: str | None = None


class EventChanged(Record, frozen=True, kw_only=True):
    """Carries all details as they are from now on, changed or not."""

    details: EventDetails


class EventPublished(Record, frozen=True, kw_only=True):
    pass


class EventRescheduled(Record, frozen=True, kw_only=True):
    starts_at: datetime
    ends_at: datetime


class EventMoved(Record, frozen=True, kw_only=True):
    location_id: str
    hall_id: str


class CapacityChanged(Record, frozen=True, kw_only=True):
    """The event's seats from now on, and those of each ticket type."""

    capacity: int
    ticket_types: tuple[TicketType, ...]


class EventCancelled(Record, frozen=True, kw_only=True):
    """Ends the event and every booking of it."""

    reason: str | None = None


class SeatsBooked(Record, frozen=True, kw_only=True):
    """`user_id` is opaque: it names nobody outside the accounts' own tables."""

    booking_id: str
    user_id: str
    lines: tuple[Line, ...]


class BookingCancelled(Record, frozen=True, kw_only=True):
    """Carries the lines that are free again, so that readers need not look them up."""

    booking_id: str
    lines: tuple[Line, ...]


LocationFact = LocationCreated | LocationChanged | HallAdded | HallChanged | HallRemoved
BookingFact = SeatsBooked | BookingCancelled
EventFact = (
    EventCreated
    | EventChanged
    | EventPublished
    | EventRescheduled
    | EventMoved
    | CapacityChanged
    | EventCancelled
    | SeatsBooked
    | BookingCancelled
)
Fact = LocationFact | EventFact

FACT_TYPES: Final[dict[str, type[Fact]]] = {t.__name__: t for t in (*get_args(LocationFact), *get_args(EventFact))}
SCHEMA_VERSIONS: Final[dict[str, int]] = dict.fromkeys(FACT_TYPES, 1)


class Metadata(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Who and what brought a fact about; `traceparent` as in W3C Trace Context."""

    command_id: str
    user_id: str | None = None
    traceparent: str | None = None


class RecordedFact(Struct, frozen=True, kw_only=True):
    """A fact with its place in the log: `seq` counts from 1 in its partition, `version` from 1 in its stream."""

    partition: int
    seq: int
    stream_id: str
    version: int
    fact: Fact
    metadata: Metadata
    recorded_at: datetime

    @property
    def position(self) -> str:
        """`partition:seq`, as answers and headers carry it."""
        return f"{self.partition}:{self.seq}"


class UnreadableFact(Struct, frozen=True, kw_only=True):
    """A row of the log that this code cannot read: of an unknown type or version, or malformed."""

    partition: int
    seq: int
    stream_id: str
    version: int
    type: str
    reason: str
