"""The two kinds of stream behind one face: which one a command goes to, and how its state comes about."""

from __future__ import annotations

from command.commands import Answer, BookingRef, EventRef, HallOnOffer, LocationRef
from command.event import decide as events
from command.event.commands import BookSeats, CancelBooking, EventCommand
from command.event.state import EventState
from command.event.state import evolve as evolve_event
from command.location import decide as locations
from command.location.commands import LocationCommand
from command.location.state import LocationState
from command.location.state import evolve as evolve_location
from myevents.errors import ErrorCode, Refused
from schema.facts import Fact, LocationFact, SeatsBooked

AnyCommand = LocationCommand | EventCommand
State = LocationState | EventState


def stream_of(command: AnyCommand) -> str:
    """The id of the stream that `command` is decided on."""
    return command.location_id if isinstance(command, LocationCommand) else command.event_id


def empty(stream_id: str) -> State:
    """The state of a stream without facts."""
    return LocationState() if stream_id.startswith("loc_") else EventState()


def evolve(state: State, fact: Fact) -> State:
    """The state after one more fact; raises `TypeError` for a fact of another kind of stream."""
    if isinstance(state, LocationState):
        if isinstance(fact, LocationFact):
            return evolve_location(state, fact)
    elif not isinstance(fact, LocationFact):
        return evolve_event(state, fact)
    raise TypeError(f"{type(fact).__name__} does not belong in this stream")


def decide(state: State, command: AnyCommand, hall: HallOnOffer | None) -> list[Fact]:
    """The facts that `command` brings about; raises `Refused`."""
    if isinstance(command, LocationCommand):
        if not isinstance(state, LocationState):
            raise Refused(ErrorCode.NOT_FOUND, "That is not a location's id.", ("locationId",))
        return list(locations.decide(state, command))
    if not isinstance(state, EventState):
        raise Refused(ErrorCode.NOT_FOUND, "That is not an event's id.", ("eventId",))
    return list(events.decide(state, command, hall))


def hall_wanted(state: State, command: AnyCommand) -> str | None:
    """The id of the hall that the decision must be told of."""
    if isinstance(command, LocationCommand) or not isinstance(state, EventState):
        return None
    return events.hall_wanted(state, command)


def answer(stream_id: str, state: State, command: AnyCommand, facts: list[Fact]) -> Answer:
    """What the caller is told once the facts are recorded."""
    if isinstance(state, LocationState):
        return LocationRef(id=stream_id, hall_ids=tuple(hall.hall_id for hall in state.halls), version=state.version)
    match command:
        case BookSeats():
            seats = sum(line.seats for fact in facts if isinstance(fact, SeatsBooked) for line in fact.lines)
            return BookingRef(id=command.booking_id, event_id=stream_id, status="CONFIRMED", seats=seats)
        case CancelBooking():
            return BookingRef(id=command.booking_id, event_id=stream_id, status="CANCELLED", seats=0)
        case _:
            types = tuple(kind.ticket_type_id for kind in state.ticket_types)
            return EventRef(id=stream_id, version=state.version, ticket_type_ids=types)
