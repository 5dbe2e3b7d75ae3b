"""What can be asked of an event and of its bookings."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from command.commands import Command
from schema.facts import EventDetails, Line, TicketType


class EventPatch(Struct, frozen=True, kw_only=True):
    """New values of some details; what is unset stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    url: str | UnsetType | None = UNSET
    topics: tuple[str, ...] | UnsetType = UNSET
    seats_per_person: int | UnsetType | None = UNSET


class CreateEvent(Command, frozen=True, kw_only=True):
    """`capacity` None is the hall's; `ticket_type` None is one type with all the seats, of id `ticket_type_id`."""

    event_id: str
    details: EventDetails
    starts_at: datetime
    ends_at: datetime
    time_zone: str | None = None
    location_id: str | None = None
    hall_id: str | None = None
    online: bool = False
    capacity: int | None = None
    ticket_type_id: str
    ticket_type: TicketType | None = None
    publish: bool = True


class ChangeEvent(Command, frozen=True, kw_only=True):
    event_id: str
    patch: EventPatch


class PublishEvent(Command, frozen=True, kw_only=True):
    event_id: str


class RescheduleEvent(Command, frozen=True, kw_only=True):
    event_id: str
    starts_at: datetime
    ends_at: datetime


class MoveEvent(Command, frozen=True, kw_only=True):
    event_id: str
    location_id: str
    hall_id: str


class ChangeCapacity(Command, frozen=True, kw_only=True):
    event_id: str
    capacity: int


class CancelEvent(Command, frozen=True, kw_only=True):
    event_id: str
    reason: str | None = None


class BookSeats(Command, frozen=True, kw_only=True):
    """`lines` empty stands for `seats` of the only ticket type."""

    event_id: str
    booking_id: str
    seats: int = 0
    lines: tuple[Line, ...] = ()


class CancelBooking(Command, frozen=True, kw_only=True):
    event_id: str
    booking_id: str


EventCommand = (
    CreateEvent
    | ChangeEvent
    | PublishEvent
    | RescheduleEvent
    | MoveEvent
    | ChangeCapacity
    | CancelEvent
    | BookSeats
    | CancelBooking
)
