"""Given an event's row, when one more fact comes, then the row is this; one that does not fit is refused."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from projector import events
from projector.model import UnfitFact
from schema.facts import (
    CapacityChanged,
    EventCancelled,
    EventChanged,
    EventDetails,
    EventMoved,
    EventPublished,
    EventRescheduled,
    Fact,
    HallAdded,
    Line,
    SeatsBooked,
)
from schema.read_models import EventRow, TicketTypeRow
from tests.history import RECORDED_AT, numbered
from tests.samples import (
    CHEAP,
    CREATED,
    HOUR,
    SECOND,
    SMALL,
    STANDARD,
    START,
    booked,
    freed,
    last,
    location,
)


def event(*facts: Fact) -> EventRow:
    """The row of `evt_a` after `CREATED` and those facts."""
    row: EventRow | None = None
    for recorded in numbered([("evt_a", fact) for fact in (CREATED, *facts)]):
        row = events.fold(row, recorded)
    assert row is not None
    return row


def counts(row: EventRow) -> tuple[int, int, dict[str, int]]:
    """Seats booked, seats available, seats booked by ticket type."""
    return row.seats_booked, row.seats_available, {kind.ticket_type_id: kind.seats_booked for kind in row.ticket_types}


def test_a_new_event_is_a_draft_without_bookings_whose_location_is_still_to_come() -> None:
    assert event() == EventRow(
        id="evt_a",
        name="Ångström",
        name_folded="angstrom",
        description="A talk",
        url="https://a.example",
        topics=("x", "y"),
        seats_per_person=None,
        status="DRAFT",
        starts_at=START,
        ends_at=START + HOUR,
        time_zone="Europe/Amsterdam",
        online=False,
        capacity=12,
        seats_booked=0,
        seats_available=12,
        ticket_types=(
            TicketTypeRow(ticket_type_id="typ_a", name="Standard", price=STANDARD.price, capacity=10, seats_booked=0),
            TicketTypeRow(ticket_type_id="typ_b", name="Cheap", capacity=5, seats_booked=0),
        ),
        organizer_id="org_a",
        location_id="loc_a",
        hall_id="hal_a",
        location=None,
        city=None,
        country=None,
        latitude=None,
        longitude=None,
        created_at=RECORDED_AT,
        updated_at=RECORDED_AT,
        version=1,
    )


def test_every_fact_moves_version_and_time_of_change_but_not_that_of_creation() -> None:
    row = event(EventPublished(), booked(1))
    assert (row.version, row.updated_at, row.created_at) == (3, RECORDED_AT + 2 * SECOND, RECORDED_AT)


def test_publishing_an_event_changes_its_status_alone() -> None:
    assert event(EventPublished()) == replace(event(), status="PUBLISHED", version=2, updated_at=RECORDED_AT + SECOND)


def test_seats_booked_and_cancelled_are_counted_in_all_and_by_ticket_type() -> None:
    assert counts(event(booked(3, 2))) == (5, 7, {"typ_a": 3, "typ_b": 2})
    assert counts(event(booked(3, 2), booked(1, number=2))) == (6, 6, {"typ_a": 4, "typ_b": 2})
    assert counts(event(booked(3, 2), booked(1, number=2), freed(booked(3, 2)))) == (1, 11, {"typ_a": 1, "typ_b": 0})


def test_two_lines_of_one_ticket_type_are_both_counted() -> None:
    line = Line(ticket_type_id="typ_a", seats=2)
    fact = SeatsBooked(booking_id="bkg_1", user_id="usr_a", lines=(line, line))
    assert counts(event(fact)) == (4, 8, {"typ_a": 4, "typ_b": 0})


def test_a_new_capacity_leaves_what_is_booked() -> None:
    changed = CapacityChanged(capacity=8, ticket_types=(replace(STANDARD, capacity=8), CHEAP))
    row = event(booked(3, 2), changed)
    assert counts(row) == (5, 3, {"typ_a": 3, "typ_b": 2})
    assert (row.capacity, row.ticket_types[0].capacity) == (8, 8)
    assert counts(event(booked(3, 2), changed, freed(booked(3, 2)))) == (0, 8, {"typ_a": 0, "typ_b": 0})


def test_a_cancelled_event_has_neither_seats_booked_nor_available() -> None:
    row = event(EventPublished(), booked(3, 2), EventCancelled())
    assert row.status == "CANCELLED"
    assert counts(row) == (0, 0, {"typ_a": 0, "typ_b": 0})


def test_changed_details_replace_all_of_them_and_nothing_else() -> None:
    row = event(booked(3), EventChanged(details=EventDetails(name="New", seats_per_person=2)))
    assert (row.name, row.name_folded, row.seats_per_person) == ("New", "new", 2)
    assert (row.description, row.url, row.topics) == (None, None, ())
    assert (row.capacity, row.seats_booked, row.hall_id) == (12, 3, "hal_a")


def test_an_event_is_where_and_when_the_last_fact_says() -> None:
    row = event(
        EventMoved(location_id="loc_b", hall_id="hal_b"), EventRescheduled(starts_at=START, ends_at=START + 9 * HOUR)
    )
    assert (row.location_id, row.hall_id, row.starts_at, row.ends_at) == ("loc_b", "hal_b", START, START + 9 * HOUR)


@pytest.mark.parametrize("place", [None, "here"])
def test_a_placed_event_shows_its_location_or_none(place: str | None) -> None:
    house = location() if place else None
    row = events.placed(event(), house)
    assert (row.location, row.city, row.country) == ((house, "Delft", "NL") if place else (None, None, None))
    assert (row.latitude, row.longitude) == ((52.0, 4.4) if place else (None, None))


def test_an_event_takes_no_fact_that_does_not_follow_and_none_of_a_location() -> None:
    with pytest.raises(UnfitFact, match=r"1:1 EventPublished of evt_a: there is no such event"):
        events.fold(None, replace(last(EventPublished()), partition=1))
    with pytest.raises(UnfitFact, match="version 3 cannot follow 1"):
        events.fold(event(), last(CREATED, EventPublished(), EventPublished()))
    with pytest.raises(UnfitFact, match="version 1 cannot follow 1"):
        events.fold(event(), last(CREATED))
    with pytest.raises(UnfitFact, match="no fact of an event"):
        events.fold(event(), last(CREATED, HallAdded(hall=SMALL)))
