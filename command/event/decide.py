"""What becomes of a wish about an event. Pure: time, ids and what is known of halls come in."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET
from msgspec.structs import replace

from command.commands import HallOnOffer
from command.event.booking import book, cancel_booking
from command.event.commands import (
    BookSeats,
    CancelBooking,
    CancelEvent,
    ChangeCapacity,
    ChangeEvent,
    CreateEvent,
    EventCommand,
    EventPatch,
    MoveEvent,
    PublishEvent,
    RescheduleEvent,
)
from command.event.state import EventState
from command.event.times import check_period
from myevents.errors import ErrorCode, Refused
from schema.facts import (
    CapacityChanged,
    EventCancelled,
    EventChanged,
    EventCreated,
    EventDetails,
    EventFact,
    EventMoved,
    EventPublished,
    EventRescheduled,
    TicketType,
)


def decide(state: EventState, command: EventCommand, hall: HallOnOffer | None = None) -> list[EventFact]:
    """The facts that `command` brings about, none where nothing changes; raises `Refused`.

    `hall` is the hall that the command names or the event has, as the rules across streams know it.
    """
    if isinstance(command, CreateEvent):
        return _create(state, command, hall)
    details = _present(state, command)
    if state.cancelled:
        if isinstance(command, CancelEvent):
            return []
        raise Refused(ErrorCode.EVENT_CANCELLED, "The event is cancelled.")
    match command:
        case BookSeats():
            return [book(state, command)]
        case CancelBooking():
            return [cancel_booking(state, command)]
        case ChangeEvent():
            changed = patched(details, command.patch)
            return [EventChanged(details=changed)] if changed != details else []
        case PublishEvent():
            return [] if state.published else [EventPublished()]
        case RescheduleEvent():
            return _reschedule(state, command)
        case MoveEvent():
            return _move(state, command, hall)
        case ChangeCapacity():
            return _change_capacity(state, command, hall)
        case CancelEvent():
            return [EventCancelled(reason=command.reason)]


def hall_wanted(state: EventState, command: EventCommand) -> str | None:
    """The id of the hall that `decide` must be told of, None where it needs none."""
    match command:
        case CreateEvent() | MoveEvent():
            return command.hall_id
        case ChangeCapacity():
            return state.hall_id
        case _:
            return None


def _present(state: EventState, command: EventCommand) -> EventDetails:
    """The details of an event that is there, at the version expected; raises `Refused`."""
    if state.details is None:
        raise Refused(ErrorCode.NOT_FOUND, f"There is no event {command.event_id}.", ("eventId",))
    if command.expected_version is not None and command.expected_version != state.version:
        message = f"The event is at version {state.version}, not {command.expected_version}: read it again."
        raise Refused(ErrorCode.VERSION_MISMATCH, message, ("expectedVersion",))
    return state.details


def _reschedule(state: EventState, command: RescheduleEvent) -> list[EventFact]:
    if (command.starts_at, command.ends_at) == (state.starts_at, state.ends_at):
        # Also where the times are of before the limits.
        return []
    check_times(command.starts_at, command.ends_at)
    return [EventRescheduled(starts_at=command.starts_at, ends_at=command.ends_at)]


def _move(state: EventState, command: MoveEvent, hall: HallOnOffer | None) -> list[EventFact]:
    if command.hall_id == state.hall_id:
        return []
    _check_hall(hall, command.location_id, state.capacity)
    return [EventMoved(location_id=command.location_id, hall_id=command.hall_id)]


def _create(state: EventState, command: CreateEvent, hall: HallOnOffer | None) -> list[EventFact]:
    if state.details is not None:
        raise Refused(ErrorCode.CONFLICT, f"There is already an event {command.event_id}.")
    check_times(command.starts_at, command.ends_at)
    capacity = _capacity(command, hall)
    created = EventCreated(
        details=command.details,
        starts_at=command.starts_at,
        ends_at=command.ends_at,
        time_zone=command.time_zone,
        location_id=command.location_id,
        hall_id=command.hall_id,
        online=command.online,
        capacity=capacity,
        ticket_types=(_ticket_type(command, capacity),),
    )
    return [created, EventPublished()] if command.publish else [created]


def _capacity(command: CreateEvent, hall: HallOnOffer | None) -> int:
    if (command.hall_id is None) != (command.location_id is None):
        raise Refused(ErrorCode.INVALID_INPUT, "locationId and hallId go together.", ("input", "hallId"))
    if command.hall_id is None:
        if not command.online:
            raise Refused(ErrorCode.INVALID_INPUT, "An event is in a hall or online: give one.", ("input", "hallId"))
        if command.capacity is None:
            raise Refused(ErrorCode.INVALID_INPUT, "An online event needs a capacity.", ("input", "capacity"))
        return command.capacity
    return _check_hall(hall, command.location_id, command.capacity)


def _check_hall(hall: HallOnOffer | None, location_id: str | None, capacity: int | None) -> int:
    """The seats an event has in `hall`: `capacity`, or all; raises `Refused` where they do not fit."""
    if hall is None or hall.location_id != location_id:
        raise Refused(ErrorCode.NOT_FOUND, "The location has no such hall.", ("input", "hallId"))
    if capacity is None:
        return hall.capacity
    if capacity > hall.capacity:
        raise Refused(ErrorCode.TOO_MANY_SEATS, f"The hall has {hall.capacity} seats.", ("input", "capacity"))
    return capacity


def _ticket_type(command: CreateEvent, capacity: int) -> TicketType:
    given = command.ticket_type
    if given is None:
        return TicketType(ticket_type_id=command.ticket_type_id, name="Standard", capacity=capacity)
    if given.capacity > capacity:
        raise Refused(
            ErrorCode.TOO_MANY_SEATS, f"The event has {capacity} seats.", ("input", "ticketTypes", "0", "capacity")
        )
    check_period(given.sales_start_at, given.sales_end_at, "salesStartAt", "salesEndAt", "input", "ticketTypes", "0")
    return given


def _change_capacity(state: EventState, command: ChangeCapacity, hall: HallOnOffer | None) -> list[EventFact]:
    if command.capacity == state.capacity:
        return []
    if command.capacity < state.booked:
        raise Refused(ErrorCode.CAPACITY_BELOW_BOOKED, f"{state.booked} seats are booked already.", ("capacity",))
    if state.hall_id is not None:
        _check_hall(hall, state.location_id, command.capacity)
    (only,) = state.ticket_types
    # A type that had all the seats goes on having all; a smaller one only shrinks where it must.
    whole = only.capacity == state.capacity
    seats = command.capacity if whole else min(only.capacity, command.capacity)
    return [CapacityChanged(capacity=command.capacity, ticket_types=(replace(only, capacity=seats),))]


def patched(details: EventDetails, patch: EventPatch) -> EventDetails:
    """The details with what the patch sets."""
    changes = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
    return replace(details, **changes)


def check_times(starts_at: datetime, ends_at: datetime) -> None:
    """Raise `Refused` where an event's years are out of range, it ends before it has begun, or it takes too long."""
    check_period(starts_at, ends_at, "startsAt", "endsAt", "input")
