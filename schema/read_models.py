"""The rows of the read models as values, and their JSON, by which they go into the database and out again."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from schema.values import Hall, Line, Money


class LocationRow(Struct, frozen=True, kw_only=True):
    """A location as read; `version` is that of its last fact in it."""

    id: str
    name: str
    address: str | None = None
    city: str | None = None
    country: str
    latitude: float | None = None
    longitude: float | None = None
    open_time: int | None = None
    close_time: int | None = None
    halls: tuple[Hall, ...] = ()
    version: int


class TicketTypeRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """A ticket type as read, with its confirmed seats."""

    ticket_type_id: str
    name: str
    price: Money | None = None
    capacity: int
    sales_start_at: datetime | None = None
    sales_end_at: datetime | None = None
    seats_booked: int = 0


class EventRow(Struct, frozen=True, kw_only=True):
    """An event as read, with its location as it is now."""

    id: str
    name: str
    name_folded: str
    description: str | None
    url: str | None
    topics: tuple[str, ...]
    seats_per_person: int | None
    status: str
    starts_at: datetime
    ends_at: datetime
    time_zone: str | None
    online: bool
    capacity: int
    seats_booked: int
    seats_available: int
    ticket_types: tuple[TicketTypeRow, ...]
    organizer_id: str | None
    location_id: str | None
    hall_id: str | None
    location: LocationRow | None
    city: str | None
    country: str | None
    latitude: float | None
    longitude: float | None
    created_at: datetime
    updated_at: datetime
    version: int


class BookingRow(Struct, frozen=True, kw_only=True):
    """A booking as read; `version` is that of the event's last fact that touched it."""

    id: str
    event_id: str
    user_id: str
    status: str
    seats: int
    lines: tuple[Line, ...]
    created_at: datetime
    updated_at: datetime
    version: int
