"""The audit finds what the models' own folds cannot, since they would be wrong on both sides alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from msgspec.structs import replace

from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.rebuild import rebuild
from projector.run import Projector, read_models
from projector.verify import verify
from schema.facts import (
    BookingCancelled,
    CapacityChanged,
    EventCancelled,
    EventCreated,
    EventDetails,
    EventPublished,
    Fact,
    Hall,
    Line,
    LocationCreated,
    LocationDetails,
    SeatsBooked,
    TicketType,
)
from schema.tables import PARTITIONS
from tests.command_side import a_location, an_event, command_side
from tests.history import record

START = datetime(2027, 5, 1, tzinfo=UTC)
EVENT = "evt_a"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections as the projector has them."""
    pool = await open_pool(database_url)
    yield pool
    await pool.close()


def created(capacity: int, of_type: int) -> EventCreated:
    """An online event with one ticket type."""
    kind = TicketType(ticket_type_id="typ_a", name="Standard", capacity=of_type)
    return EventCreated(
        details=EventDetails(name="A talk"),
        starts_at=START,
        ends_at=START + timedelta(hours=1),
        online=True,
        capacity=capacity,
        ticket_types=(kind,),
    )


def booked(number: int, seats: int, kind: str = "typ_a") -> SeatsBooked:
    """A booking of one line."""
    return SeatsBooked(booking_id=f"bkg_{number}", user_id="usr_a", lines=(Line(ticket_type_id=kind, seats=seats),))


def freed(number: int, seats: int) -> BookingCancelled:
    """The end of that booking."""
    return BookingCancelled(booking_id=f"bkg_{number}", lines=(Line(ticket_type_id="typ_a", seats=seats),))


async def told(database_url: str, pool: asyncpg.Pool, *facts: Fact) -> list[str]:
    """What `verify` says of an event with those facts."""
    log = StoreLog(pool, PARTITIONS)
    await record(database_url, [(EVENT, fact) for fact in facts])
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    await projector.catch_up()
    return await verify(log=log, pool=pool)


async def test_seats_oversold_for_a_while_are_told_after_they_were_freed(database_url: str, pool: asyncpg.Pool) -> None:
    facts: list[Fact] = [created(5, 5), EventPublished(), booked(1, 3), booked(2, 3), freed(1, 3), booked(3, 2)]
    assert await told(database_url, pool, *facts) == [
        "Event evt_a had 6 seats booked of 5 at version 4, says the audit.",
        "Ticket type typ_a of event evt_a had 6 seats booked of 5 at version 4, says the audit.",
    ]


async def test_a_ticket_type_oversold_within_the_event_is_told(database_url: str, pool: asyncpg.Pool) -> None:
    assert await told(database_url, pool, created(10, 5), EventPublished(), booked(1, 6)) == [
        "Ticket type typ_a of event evt_a had 6 seats booked of 5 at version 3, says the audit."
    ]


async def test_a_capacity_that_shrinks_below_what_is_booked_is_told(database_url: str, pool: asyncpg.Pool) -> None:
    kinds = created(10, 10).ticket_types
    shrunk = CapacityChanged(capacity=2, ticket_types=kinds)
    assert await told(database_url, pool, created(10, 10), EventPublished(), booked(1, 6), shrunk) == [
        "Event evt_a had 6 seats booked of 2 at version 4, says the audit."
    ]


async def test_seats_that_come_back_in_other_numbers_than_booked_are_told(
    database_url: str, pool: asyncpg.Pool
) -> None:
    problems = await told(database_url, pool, created(10, 10), EventPublished(), booked(1, 3), freed(1, 2))
    assert problems == [
        "Booking bkg_1 is booked 1 times and cancelled 1 times, of 1 events and with 2 sets of seats, says the audit."
    ]


async def test_facts_after_an_events_end_are_told(database_url: str, pool: asyncpg.Pool) -> None:
    problems = await told(database_url, pool, created(10, 10), EventPublished(), EventCancelled(), booked(1, 2))
    assert "Event evt_a was cancelled at version 3, and has facts up to version 4, says the audit." in problems


async def test_a_guard_that_forgot_an_events_hall_is_told(database_url: str, pool: asyncpg.Pool) -> None:
    log = StoreLog(pool, PARTITIONS)
    async with command_side(database_url) as service:
        location, (hall,) = await a_location(service, 50)
        event = await an_event(service, locationId=location, hallId=hall, online=False, capacity=40)
    await Projector(log=log, pool=pool).prepare()
    await Projector(log=log, pool=pool).catch_up()
    assert await verify(log=log, pool=pool) == []
    await pool.execute("delete from hall_events")
    assert await verify(log=log, pool=pool) == [
        f"Event {event} has hall {hall} by its facts, but none by the table that guards it, says the audit."
    ]


async def test_times_that_the_driver_reads_as_infinity_are_no_difference(database_url: str, pool: asyncpg.Pool) -> None:
    ever = {"starts_at": datetime.min.replace(tzinfo=UTC), "ends_at": datetime.max.replace(tzinfo=UTC)}
    house = LocationCreated(
        details=LocationDetails(name="House", country="NL"), halls=(Hall(hall_id="hal_a", name="Hall", capacity=20),)
    )
    event = replace(created(10, 10), online=False, location_id="loc_a", hall_id="hal_a", **ever)
    await record(database_url, [("loc_a", house), (EVENT, event)])
    await pool.execute("insert into halls (hall_id, location_id, capacity) values ('hal_a', 'loc_a', 20)")
    # As the release before recorded it: its driver made infinity of both.
    await pool.execute(
        "insert into hall_events (event_id, hall_id, capacity, during) values ($1, 'hal_a', 10, $2)",
        EVENT,
        asyncpg.Range(ever["starts_at"], ever["ends_at"]),
    )
    assert await pool.fetchval("select upper(during)::text from hall_events") == "infinity"
    log = StoreLog(pool, PARTITIONS)
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    await projector.catch_up()
    assert await verify(log=log, pool=pool) == []
    for model in read_models():
        assert await rebuild(model, log, pool, lambda _done, _total: None) == []
    assert await verify(log=log, pool=pool) == []
    await pool.execute("update hall_events set during = tstzrange('2027-01-01', 'infinity')")
    assert [problem for problem in await verify(log=log, pool=pool) if "by the table that guards it" in problem]
