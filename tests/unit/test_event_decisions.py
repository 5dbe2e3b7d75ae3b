"""Given these facts, when this is asked, then these facts follow, or a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from command.event.commands import (
    BookSeats,
    CancelBooking,
    CancelEvent,
    ChangeCapacity,
    CreateEvent,
    EventCommand,
    PublishEvent,
    RescheduleEvent,
)
from command.event.decide import decide
from command.event.state import EventState, evolve
from command.snapshots import dump, restore
from myevents.errors import ErrorCode, Refused
from schema.facts import (
    BookingCancelled,
    CapacityChanged,
    EventCancelled,
    EventCreated,
    EventDetails,
    EventFact,
    EventPublished,
    Line,
    SeatsBooked,
    TicketType,
)

NOW = datetime(2027, 1, 1, tzinfo=UTC)
COMMON: dict[str, Any] = {"command_id": "cmd_1", "at": NOW, "user_id": "usr_ann", "event_id": "evt_1"}


def created(
    capacity: int = 10, type_capacity: int | None = None, limit: int | None = None, sale: tuple[int, int] | None = None
) -> EventCreated:
    kind = TicketType(
        ticket_type_id="typ_1",
        name="Standard",
        capacity=type_capacity or capacity,
        sales_start_at=NOW + timedelta(days=sale[0]) if sale else None,
        sales_end_at=NOW + timedelta(days=sale[1]) if sale else None,
    )
    return EventCreated(
        details=EventDetails(name="A talk", seats_per_person=limit),
        starts_at=NOW,
        ends_at=NOW + timedelta(hours=1),
        online=True,
        capacity=capacity,
        ticket_types=(kind,),
    )


def booked(number: int, seats: int, user: str = "usr_ann") -> SeatsBooked:
    return SeatsBooked(booking_id=f"bkg_{number}", user_id=user, lines=(Line(ticket_type_id="typ_1", seats=seats),))


def given_facts(*facts: EventFact) -> EventState:
    state = EventState()
    for fact in facts:
        state = evolve(state, fact)
    return state


def refusal(state: EventState, command: EventCommand) -> ErrorCode:
    with pytest.raises(Refused) as refused:
        decide(state, command)
    return refused.value.code


def wish(seats: int, number: int = 99) -> BookSeats:
    return BookSeats(**COMMON, booking_id=f"bkg_{number}", seats=seats)


def test_seats_are_booked_while_there_are_any() -> None:
    state = given_facts(created(10), EventPublished(), booked(1, 7))
    assert decide(state, wish(3)) == [booked(99, 3)]
    assert refusal(state, wish(4)) is ErrorCode.SOLD_OUT


def test_a_draft_sells_nothing() -> None:
    assert refusal(given_facts(created()), wish(1)) is ErrorCode.EVENT_NOT_PUBLISHED


def test_a_ticket_type_sells_no_more_than_its_own_seats() -> None:
    state = given_facts(created(10, type_capacity=4), EventPublished(), booked(1, 3))
    assert refusal(state, wish(2)) is ErrorCode.SOLD_OUT


def test_one_person_has_no_more_seats_than_allowed() -> None:
    state = given_facts(created(10, limit=4), EventPublished(), booked(1, 3), booked(2, 4, "usr_ben"))
    assert decide(state, wish(1)) == [booked(99, 1)]
    assert refusal(state, wish(2)) is ErrorCode.TOO_MANY_SEATS


@pytest.mark.parametrize(("sale", "open_"), [((-1, 1), True), ((1, 2), False), ((-2, -1), False), ((-2, 0), False)])
def test_seats_are_sold_in_the_time_of_sale_alone(sale: tuple[int, int], open_: bool) -> None:
    state = given_facts(created(sale=sale), EventPublished())
    if open_:
        assert decide(state, wish(1)) == [booked(99, 1)]
    else:
        assert refusal(state, wish(1)) is ErrorCode.SALES_CLOSED


def test_an_unknown_event_is_not_found() -> None:
    assert refusal(EventState(), wish(1)) is ErrorCode.NOT_FOUND


def test_publishing_twice_records_nothing_the_second_time() -> None:
    publish = PublishEvent(**COMMON)
    assert decide(given_facts(created()), publish) == [EventPublished()]
    assert decide(given_facts(created(), EventPublished()), publish) == []


def test_capacity_never_falls_below_what_is_booked() -> None:
    state = given_facts(created(10), EventPublished(), booked(1, 7))
    (changed,) = decide(state, ChangeCapacity(**COMMON, capacity=7))
    assert isinstance(changed, CapacityChanged)
    assert changed.ticket_types[0].capacity == 7
    assert refusal(state, ChangeCapacity(**COMMON, capacity=6)) is ErrorCode.CAPACITY_BELOW_BOOKED


def test_a_cancelled_event_stays_cancelled() -> None:
    state = given_facts(created(), EventPublished(), EventCancelled())
    assert decide(state, CancelEvent(**COMMON)) == []
    assert refusal(state, wish(1)) is ErrorCode.EVENT_CANCELLED


def test_another_version_than_expected_is_refused() -> None:
    state = given_facts(created(), EventPublished())
    common = COMMON | {"expected_version": 1}
    assert refusal(state, CancelEvent(**common)) is ErrorCode.VERSION_MISMATCH


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 6), st.integers(0, 20), st.sampled_from("ab")), max_size=60),
    st.integers(1, 30),
)
def test_however_people_book_and_cancel_seats_stay_within_capacity(
    wishes: list[tuple[bool, int, int, str]], capacity: int
) -> None:
    state = given_facts(created(capacity), EventPublished())
    mine: dict[str, tuple[str, int]] = {}
    for number, (books, seats, which, user) in enumerate(wishes):
        common = COMMON | {"user_id": user}
        command: EventCommand = (
            BookSeats(**common, booking_id=f"bkg_{number}", seats=seats)
            if books
            else CancelBooking(**common, booking_id=f"bkg_{which}")
        )
        try:
            facts = decide(state, command)
        except Refused:
            continue
        for fact in facts:
            state = evolve(state, fact)
            if isinstance(fact, SeatsBooked):
                mine[fact.booking_id] = (user, seats)
            elif isinstance(fact, BookingCancelled):
                assert mine.pop(fact.booking_id)[0] == user
        assert state.booked == sum(count for _, count in mine.values()) <= capacity
    assert restore(dump(state)) == state


FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
BEFORE, AFTER = FIRST - timedelta(microseconds=1), LAST + timedelta(microseconds=1)
MOST = timedelta(days=3660)
HOUR = timedelta(hours=1)

ACCEPTED_TIMES = [(FIRST, FIRST + HOUR), (LAST - HOUR, LAST), (NOW, NOW + MOST)]
REFUSED_TIMES = [
    (BEFORE, FIRST + HOUR, "startsAt"),
    (datetime(1, 1, 1, tzinfo=UTC), NOW, "startsAt"),
    (LAST - HOUR, AFTER, "endsAt"),
    (NOW, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "endsAt"),
    (NOW, NOW + MOST + timedelta(microseconds=1), "endsAt"),
    (NOW, NOW, "endsAt"),
]


def new_event(starts_at: datetime = NOW, ends_at: datetime = NOW + HOUR, **sale: Any) -> CreateEvent:
    kind = TicketType(ticket_type_id="typ_1", name="Standard", capacity=10, **sale) if sale else None
    return CreateEvent(
        **COMMON,
        details=EventDetails(name="A talk"),
        starts_at=starts_at,
        ends_at=ends_at,
        online=True,
        capacity=10,
        ticket_type_id="typ_1",
        ticket_type=kind,
    )


def refused_path(state: EventState, command: EventCommand) -> tuple[str, ...]:
    with pytest.raises(Refused) as refused:
        decide(state, command)
    assert refused.value.code is ErrorCode.INVALID_INPUT
    return refused.value.path


@pytest.mark.parametrize(("starts_at", "ends_at"), ACCEPTED_TIMES)
def test_the_outermost_times_are_accepted(starts_at: datetime, ends_at: datetime) -> None:
    assert decide(EventState(), new_event(starts_at, ends_at))
    assert decide(EventState(), new_event(sales_start_at=starts_at, sales_end_at=ends_at))
    assert decide(given_facts(created()), RescheduleEvent(**COMMON, starts_at=starts_at, ends_at=ends_at))


@pytest.mark.parametrize(("starts_at", "ends_at", "field"), REFUSED_TIMES)
def test_times_out_of_range_are_refused_naming_the_field(starts_at: datetime, ends_at: datetime, field: str) -> None:
    assert refused_path(EventState(), new_event(starts_at, ends_at)) == ("input", field)
    command = RescheduleEvent(**COMMON, starts_at=starts_at, ends_at=ends_at)
    assert refused_path(given_facts(created()), command) == ("input", field)
    sale = {"startsAt": "salesStartAt", "endsAt": "salesEndAt"}[field]
    path = refused_path(EventState(), new_event(sales_start_at=starts_at, sales_end_at=ends_at))
    assert path == ("input", "ticketTypes", "0", sale)


def test_one_time_of_sale_alone_is_in_range_too() -> None:
    assert refused_path(EventState(), new_event(sales_end_at=AFTER)) == ("input", "ticketTypes", "0", "salesEndAt")
    assert refused_path(EventState(), new_event(sales_start_at=BEFORE)) == ("input", "ticketTypes", "0", "salesStartAt")


def test_an_event_of_before_the_limits_goes_on() -> None:
    old = replace(created(), starts_at=datetime(1, 1, 1, tzinfo=UTC), ends_at=datetime.max.replace(tzinfo=UTC))
    state = given_facts(old)
    assert decide(state, RescheduleEvent(**COMMON, starts_at=old.starts_at, ends_at=old.ends_at)) == []
    assert decide(state, ChangeCapacity(**COMMON, capacity=5))
    assert decide(state, RescheduleEvent(**COMMON, starts_at=NOW, ends_at=NOW + HOUR))


def test_the_longest_event_takes_minutes_that_fit_32_bits() -> None:
    assert MOST // timedelta(minutes=1) < 2**31
