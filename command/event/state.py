"""An event as its facts make it. Persistent maps: an old state costs nothing to keep while a round is decided."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace
from rpds import HashTrieMap

from schema.facts import (
    BookingCancelled,
    CapacityChanged,
    EventCancelled,
    EventChanged,
    EventCreated,
    EventDetails,
    EventFact,
    EventMoved,
    EventPublished,
    EventRescheduled,
    Line,
    SeatsBooked,
    TicketType,
)


class Booking(Struct, frozen=True, array_like=True):
    """A confirmed booking: whose, and how many seats."""

    user_id: str
    lines: tuple[Line, ...]

    @property
    def seats(self) -> int:
        """All its seats."""
        return sum(line.seats for line in self.lines)


class EventState(Struct, frozen=True, kw_only=True):
    """`version` 0 is an event that is not there yet. `booked` counts the seats of all confirmed bookings."""

    version: int = 0
    details: EventDetails | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    location_id: str | None = None
    hall_id: str | None = None
    capacity: int = 0
    ticket_types: tuple[TicketType, ...] = ()
    published: bool = False
    cancelled: bool = False
    booked: int = 0
    bookings: HashTrieMap[str, Booking] = HashTrieMap()
    seats_of: HashTrieMap[str, int] = HashTrieMap()
    """Confirmed seats by person."""


def evolve(state: EventState, fact: EventFact) -> EventState:
    """The state after one more fact."""
    version = state.version + 1
    match fact:
        case SeatsBooked():
            return _booked(state, fact, version)
        case BookingCancelled():
            return _unbooked(state, fact, version)
        case EventCreated():
            return EventState(
                version=version,
                details=fact.details,
                starts_at=fact.starts_at,
                ends_at=fact.ends_at,
                location_id=fact.location_id,
                hall_id=fact.hall_id,
                capacity=fact.capacity,
                ticket_types=fact.ticket_types,
            )
        case EventChanged():
            return replace(state, version=version, details=fact.details)
        case EventPublished():
            return replace(state, version=version, published=True)
        case EventRescheduled():
            return replace(state, version=version, starts_at=fact.starts_at, ends_at=fact.ends_at)
        case EventMoved():
            return replace(state, version=version, location_id=fact.location_id, hall_id=fact.hall_id)
        case CapacityChanged():
            return replace(state, version=version, capacity=fact.capacity, ticket_types=fact.ticket_types)
        case EventCancelled():
            return replace(
                state, version=version, cancelled=True, booked=0, bookings=HashTrieMap(), seats_of=HashTrieMap()
            )


def _booked(state: EventState, fact: SeatsBooked, version: int) -> EventState:
    booking = Booking(fact.user_id, fact.lines)
    seats = booking.seats
    return replace(
        state,
        version=version,
        booked=state.booked + seats,
        bookings=state.bookings.insert(fact.booking_id, booking),
        seats_of=state.seats_of.insert(fact.user_id, state.seats_of.get(fact.user_id, 0) + seats),
    )


def _unbooked(state: EventState, fact: BookingCancelled, version: int) -> EventState:
    booking = state.bookings[fact.booking_id]
    left = state.seats_of[booking.user_id] - booking.seats
    theirs = state.seats_of.insert(booking.user_id, left) if left else state.seats_of.remove(booking.user_id)
    return replace(
        state,
        version=version,
        booked=state.booked - booking.seats,
        bookings=state.bookings.remove(fact.booking_id),
        seats_of=theirs,
    )
