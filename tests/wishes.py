"""Random commands on a few locations and events, for histories of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from command.event.commands import (
    BookSeats,
    CancelBooking,
    CancelEvent,
    ChangeCapacity,
    ChangeEvent,
    CreateEvent,
    EventPatch,
    MoveEvent,
    PublishEvent,
    RescheduleEvent,
)
from command.location.commands import AddHall, ChangeHall, ChangeLocation, CreateLocation, LocationPatch, RemoveHall
from command.streams import AnyCommand
from command.writer import Writer
from myevents.errors import Refused
from schema.facts import EventDetails, Hall, LocationDetails

AT = datetime(2027, 1, 1, tzinfo=UTC)
COMMON: dict[str, Any] = {"command_id": "cmd_test", "user_id": "usr_a"}


def _hall(location: str, number: int, seats: int) -> Hall:
    return Hall(hall_id=f"hal_{location}_{number}", name=f"Hall {seats}", capacity=seats)


LOCATIONS = st.sampled_from(["loc_a", "loc_b"])
EVENTS = st.sampled_from(["evt_a", "evt_b", "evt_c", "evt_d"])
PLACES = st.builds(
    lambda location, number: {"location_id": location, "hall_id": _hall(location, number, 1).hall_id},
    LOCATIONS,
    st.integers(0, 2),
)
SPANS = st.builds(
    lambda day, hours: {"starts_at": AT + timedelta(days=day), "ends_at": AT + timedelta(days=day, hours=hours)},
    st.integers(0, 9),
    st.integers(1, 40),
)
SEATS = st.integers(1, 6)
NAMES = st.sampled_from(["A", "Ä", "ø l", "\u2028"])
CITIES = st.sampled_from(["Delft", "Łódź", None])


def _event(event: str, place: dict[str, Any] | None, span: dict[str, Any], seats: int, publish: bool) -> AnyCommand:
    return CreateEvent(
        **COMMON,
        at=AT,
        event_id=event,
        details=EventDetails(name="A talk", topics=("x",)),
        online=place is None,
        capacity=seats,
        ticket_type_id=f"typ_{event}",
        publish=publish,
        **(place or {}),
        **span,
    )


def _location(location: str, city: str | None, seats: list[int]) -> AnyCommand:
    halls = tuple(_hall(location, number, each) for number, each in enumerate(seats))
    details = LocationDetails(name="House", city=city, country="NL", latitude=52.0, longitude=4.4)
    return CreateLocation(**COMMON, at=AT, location_id=location, details=details, halls=halls)


def _wish(kind: type[Any], **fields: Any) -> AnyCommand:
    command: AnyCommand = kind(**COMMON, at=AT, **fields)
    return command


BOOKINGS = st.builds(lambda event, seats: _wish(BookSeats, event_id=event, booking_id="", seats=seats), EVENTS, SEATS)
CANCELLATIONS = st.builds(lambda number: _wish(CancelBooking, event_id="", booking_id=str(number)), st.integers(0, 20))
MOVES = st.builds(lambda event, place: _wish(MoveEvent, event_id=event, **place), EVENTS, PLACES)
COMMANDS: st.SearchStrategy[AnyCommand] = st.one_of(
    # As often as people want it.
    *[BOOKINGS] * 6,
    *[CANCELLATIONS] * 3,
    *[MOVES] * 2,
    st.builds(lambda event, seats: _wish(ChangeCapacity, event_id=event, capacity=seats), EVENTS, st.integers(1, 30)),
    st.builds(lambda event, span: _wish(RescheduleEvent, event_id=event, **span), EVENTS, SPANS),
    st.builds(lambda event, name: _wish(ChangeEvent, event_id=event, patch=EventPatch(name=name)), EVENTS, NAMES),
    st.builds(lambda event: _wish(PublishEvent, event_id=event), EVENTS),
    st.builds(lambda event: _wish(CancelEvent, event_id=event), EVENTS),
    st.builds(_event, EVENTS, st.one_of(st.none(), PLACES), SPANS, st.integers(5, 20), st.booleans()),
    st.builds(
        lambda place, city, name: _wish(ChangeLocation, location_id=place, patch=LocationPatch(name=name, city=city)),
        LOCATIONS,
        CITIES,
        NAMES,
    ),
    st.builds(
        lambda place, n, seats: _wish(AddHall, location_id=place, hall=_hall(place, n, seats)),
        LOCATIONS,
        st.integers(0, 2),
        st.integers(8, 30),
    ),
    st.builds(
        lambda place, n, seats: _wish(ChangeHall, location_id=place, hall=_hall(place, n, seats)),
        LOCATIONS,
        st.integers(0, 2),
        st.integers(8, 30),
    ),
    st.builds(lambda place: _wish(RemoveHall, **place), PLACES),
)
# Most histories begin as a town does: places, then what happens in them.
BEGINNINGS = st.tuples(
    *(
        st.builds(_location, st.just(place), CITIES, st.lists(st.integers(15, 40), min_size=3, max_size=3))
        for place in ("loc_a", "loc_b")
    ),
    *(
        st.builds(_event, st.just(event), st.one_of(st.none(), PLACES), SPANS, st.integers(5, 20), st.just(True))
        for event in ("evt_a", "evt_b", "evt_c")
    ),
)


async def live_through(writer: Writer, commands: Sequence[AnyCommand]) -> None:
    """Let each command be decided, one after the other; many are refused, as they should be.

    A booking gets an id of its own here, and a cancellation one of those made before it, by its number.
    """
    made: list[tuple[str, str]] = []
    for number, wish in enumerate(commands):
        command = replace(wish, at=AT + timedelta(seconds=number))
        match command:
            case BookSeats():
                command = replace(command, booking_id=f"bkg_{len(made)}")
                made.append((command.event_id, command.booking_id))
            case CancelBooking() if made:
                event, booking = made[int(command.booking_id) % len(made)]
                command = replace(command, event_id=event, booking_id=booking)
            case CancelBooking():
                continue
            case _:
                pass
        try:
            await writer.submit(command)
        except Refused:
            continue
