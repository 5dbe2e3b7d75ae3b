"""Whether seats can be had: never more than there are, of the event or of the ticket type."""

from __future__ import annotations

from datetime import datetime

from command.event.commands import BookSeats, CancelBooking
from command.event.state import EventState
from myevents.errors import ErrorCode, Refused
from schema.facts import BookingCancelled, Line, SeatsBooked, TicketType


def book(state: EventState, command: BookSeats) -> SeatsBooked:
    """The booking asked for; raises `Refused` where it cannot be."""
    if not state.published:
        raise Refused(ErrorCode.EVENT_NOT_PUBLISHED, "The event is not published yet.")
    if command.booking_id in state.bookings:
        raise Refused(ErrorCode.ALREADY_BOOKED, f"There is already a booking {command.booking_id}.")
    (only,) = state.ticket_types
    seats = _seats(command, only)
    check_sale(only, command.at)
    _check_limit(state, command.user_id, seats)
    left = min(state.capacity, only.capacity) - state.booked
    if seats > left:
        message = f"Only {left} seats are left." if left else "The event is sold out."
        raise Refused(ErrorCode.SOLD_OUT, message, ("input", "seats"))
    line = Line(ticket_type_id=only.ticket_type_id, seats=seats)
    return SeatsBooked(booking_id=command.booking_id, user_id=command.user_id, lines=(line,))


def cancel_booking(state: EventState, command: CancelBooking) -> BookingCancelled:
    """The end of a booking of the person's own; raises `Refused` for another's as for none at all."""
    booking = state.bookings.get(command.booking_id)
    if booking is None or booking.user_id != command.user_id:
        raise Refused(ErrorCode.NOT_FOUND, f"You have no booking {command.booking_id} here.", ("bookingId",))
    return BookingCancelled(booking_id=command.booking_id, lines=booking.lines)


def check_sale(ticket_type: TicketType, at: datetime) -> None:
    """Raise `Refused` outside the ticket type's time of sale; without one it is always on sale."""
    if ticket_type.sales_start_at is not None and at < ticket_type.sales_start_at:
        raise Refused(ErrorCode.SALES_CLOSED, f"Sale starts at {ticket_type.sales_start_at.isoformat()}.")
    if ticket_type.sales_end_at is not None and at >= ticket_type.sales_end_at:
        raise Refused(ErrorCode.SALES_CLOSED, f"Sale ended at {ticket_type.sales_end_at.isoformat()}.")


def _seats(command: BookSeats, only: TicketType) -> int:
    if not command.lines:
        return command.seats
    for number, line in enumerate(command.lines):
        if line.ticket_type_id not in ("", only.ticket_type_id):
            path = ("input", "lines", str(number), "ticketTypeId")
            raise Refused(ErrorCode.NOT_FOUND, "The event has no such ticket type.", path)
    return sum(line.seats for line in command.lines)


def _check_limit(state: EventState, user_id: str, seats: int) -> None:
    limit = state.details.seats_per_person if state.details else None
    if limit is not None and state.seats_of.get(user_id, 0) + seats > limit:
        raise Refused(ErrorCode.TOO_MANY_SEATS, f"One person may have at most {limit} seats.", ("input", "seats"))
