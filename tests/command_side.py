"""A command side on a real database, and short ways to ask it for the usual things."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from command.commands import BookingRef, EventRef, LocationRef
from command.inputs import BookingInput, EventInput, LocationInput, take
from command.round import Accepted
from command.service import Caller, CommandService
from command.writer import Writer
from myevents.store import open_pool
from schema.tables import PARTITIONS

ANN = Caller(user_id="usr_ann")
BEN = Caller(user_id="usr_ben")


@asynccontextmanager
async def command_side(database_url: str, *, queue_size: int = 4096) -> AsyncIterator[CommandService]:
    """A writer with its own connections, as one process has it."""
    pool = await open_pool(database_url)
    try:
        async with Writer(pool, PARTITIONS, queue_size=queue_size) as writer:
            yield CommandService(writer)
    finally:
        await pool.close()


def online_event(**changes: Any) -> EventInput:
    """An online event of 100 seats, published, but for `changes` (in the API's names)."""
    wish = {
        "name": "A talk",
        "startsAt": "2027-05-01T10:00:00+02:00",
        "endsAt": "2027-05-01T12:00:00+02:00",
        "online": True,
        "capacity": 100,
    }
    return take(EventInput, {k: v for k, v in (wish | changes).items() if v is not None})


async def a_location(service: CommandService, *capacities: int) -> tuple[str, list[str]]:
    """A location with halls of those capacities: its id, and theirs."""
    halls = [{"name": f"Hall {number}", "capacity": seats} for number, seats in enumerate(capacities)]
    done = await service.create_location(ANN, take(LocationInput, {"name": "House", "country": "NL", "halls": halls}))
    assert isinstance(done.answer, LocationRef)
    return done.answer.id, list(done.answer.hall_ids)


async def an_event(service: CommandService, **changes: Any) -> str:
    """The id of a new `online_event`."""
    done = await service.create_event(ANN, online_event(**changes))
    assert isinstance(done.answer, EventRef)
    return done.answer.id


async def book(service: CommandService, event_id: str, seats: int, caller: Caller = ANN) -> Accepted:
    """Book seats of the event's only ticket type."""
    return await service.book_seats(caller, event_id, BookingInput(seats=seats))


def booking_id(accepted: Accepted) -> str:
    """The id of the booking that was made."""
    assert isinstance(accepted.answer, BookingRef)
    return accepted.answer.id


async def seats_in_log(database_url: str, event_id: str) -> int:
    """The seats that the log says are booked, counted in SQL: an opinion independent of `evolve`."""
    connection = await asyncpg.connect(database_url)
    try:
        seats: int = await connection.fetchval(
            """select coalesce(sum((line ->> 'seats')::int), 0)
               from facts f cross join jsonb_array_elements(f.data -> 'lines') as line
               where f.stream_id = $1 and f.type = 'SeatsBooked' and not exists (
                 select 1 from facts c where c.stream_id = f.stream_id and c.type = 'BookingCancelled'
                 and c.data ->> 'bookingId' = f.data ->> 'bookingId')""",
            event_id,
        )
        return seats
    finally:
        await connection.close()


async def facts_in_log(database_url: str) -> int:
    """How many facts the log has."""
    connection = await asyncpg.connect(database_url)
    try:
        count: int = await connection.fetchval("select count(*) from facts")
        return count
    finally:
        await connection.close()
