"""What every command carries besides its wish: who asks, when, and which ids it may give out."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Command(Struct, frozen=True, kw_only=True):
    """A wish. `at` is the time (UTC) and `command_id` the id that decisions take as given."""

    command_id: str
    at: datetime
    user_id: str
    traceparent: str | None = None
    expected_version: int | None = None


class HallOnOffer(Struct, frozen=True, kw_only=True):
    """What the rules across streams know of a hall: where it is and its seats."""

    hall_id: str
    location_id: str
    capacity: int


class LocationRef(Struct, frozen=True, kw_only=True, tag=True):
    """The answer of a location's command."""

    id: str
    hall_ids: tuple[str, ...]
    version: int


class EventRef(Struct, frozen=True, kw_only=True, tag=True):
    """The answer of an event's command."""

    id: str
    version: int
    ticket_type_ids: tuple[str, ...]


class BookingRef(Struct, frozen=True, kw_only=True, tag=True):
    """The answer of a booking's command."""

    id: str
    event_id: str
    status: str
    seats: int


Answer = LocationRef | EventRef | BookingRef
