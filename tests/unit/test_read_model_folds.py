"""Locations and bookings: given a row, when one more fact comes, then the row is this; or the fact is refused."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from projector import bookings, locations
from projector.fold import BookingsFold, EventsFold, LocationsFold
from projector.model import UnfitFact
from schema.facts import (
    EventCancelled,
    HallAdded,
    HallChanged,
    HallRemoved,
    LocationChanged,
    LocationCreated,
    LocationDetails,
)
from schema.read_models import BookingRow, EventRow, LocationRow
from tests.history import RECORDED_AT, numbered
from tests.samples import (
    CREATED,
    HOUSE,
    LARGE,
    SECOND,
    SMALL,
    booked,
    freed,
    last,
    location,
)


def test_a_location_has_the_halls_it_was_given_in_order_of_adding() -> None:
    assert location() == LocationRow(
        id="loc_a",
        name="House",
        city="Delft",
        country="NL",
        latitude=52.0,
        longitude=4.4,
        open_time=9,
        halls=(SMALL,),
        version=1,
    )
    assert location(HallAdded(hall=LARGE)).halls == (SMALL, LARGE)
    wider = replace(SMALL, capacity=30)
    assert location(HallAdded(hall=LARGE), HallChanged(hall=wider)).halls == (wider, LARGE)
    assert location(HallAdded(hall=LARGE), HallRemoved(hall_id="hal_a")).halls == (LARGE,)
    assert location(HallAdded(hall=LARGE), HallRemoved(hall_id="hal_a"), HallAdded(hall=SMALL)).halls == (LARGE, SMALL)


def test_a_changed_location_keeps_its_halls_and_no_old_detail() -> None:
    row = location(LocationChanged(details=LocationDetails(name="Home", country="BE")))
    assert row == LocationRow(id="loc_a", name="Home", country="BE", halls=(SMALL,), version=2)


def test_a_location_takes_no_fact_that_does_not_follow_and_none_of_an_event() -> None:
    with pytest.raises(UnfitFact, match="there is no such location"):
        locations.fold(None, last(HallAdded(hall=SMALL), stream="loc_a"))
    with pytest.raises(UnfitFact, match="version 1 cannot follow 1"):
        locations.fold(location(), last(HallAdded(hall=SMALL), stream="loc_a"))
    with pytest.raises(UnfitFact, match="no fact of a location"):
        locations.fold(None, last(CREATED))


def test_a_booking_has_its_seats_in_all_and_ends_once() -> None:
    fact = booked(3, 2)
    row = bookings.booked(last(CREATED, fact), fact)
    assert row == BookingRow(
        id="bkg_1",
        event_id="evt_a",
        user_id="usr_a",
        status="CONFIRMED",
        seats=5,
        lines=fact.lines,
        created_at=RECORDED_AT + SECOND,
        updated_at=RECORDED_AT + SECOND,
        version=2,
    )
    ended = bookings.cancelled(row, last(CREATED, fact, freed(fact)))
    assert ended == replace(row, status="CANCELLED", version=3, updated_at=RECORDED_AT + 2 * SECOND)
    for none in (None, ended):
        with pytest.raises(UnfitFact, match="no such booking to cancel"):
            bookings.cancelled(none, last(CREATED, fact, freed(fact)))


def test_an_events_end_ends_its_own_bookings_and_no_others() -> None:
    fold = BookingsFold()
    mine, gone, other = booked(1), booked(1, number=2), booked(1, number=3)
    history = [("evt_a", fact) for fact in (CREATED, mine, gone, freed(gone))]
    for recorded in numbered([*history, ("evt_b", CREATED), ("evt_b", other), ("evt_a", EventCancelled())]):
        fold.take(recorded)
    rows = fold.tables()["bookings"]
    assert isinstance(rows["bkg_1"], BookingRow)
    versions = {key: (row.status, row.version) for key, row in rows.items() if isinstance(row, BookingRow)}
    assert versions == {"bkg_1": ("CANCELLED", 5), "bkg_2": ("CANCELLED", 4), "bkg_3": ("CONFIRMED", 2)}


def test_the_whole_fold_places_events_whichever_partition_comes_first() -> None:
    facts = numbered([("loc_a", LocationCreated(details=HOUSE)), ("evt_a", CREATED), ("loc_a", HallAdded(hall=SMALL))])
    rows = []
    for order in (facts, [facts[1], facts[0], facts[2]]):
        whole, alone = EventsFold(), LocationsFold()
        for recorded in order:
            whole.take(recorded)
            alone.take(recorded)
        row = whole.tables()["events"]["evt_a"]
        assert isinstance(row, EventRow)
        assert row.location == alone.tables()["locations"]["loc_a"]
        rows.append(row)
    assert rows[0] == rows[1]
