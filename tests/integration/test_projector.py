"""The read models follow the log, whoever applies it and in whatever order its partitions come."""

from __future__ import annotations

import asyncio
import random

import pytest

from command.inputs import HallInput, LocationPatchInput, TimesInput, take
from command.service import Caller, CommandService
from myevents.errors import Refused
from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.run import Projector
from projector.verify import verify
from schema.tables import PARTITIONS
from tests.command_side import ANN, BEN, a_location, an_event, book, booking_id, command_side
from tests.integration.nonsense import append_nonsense
from tests.random_cases import seeds


async def a_busy_day(service: CommandService, chance: random.Random) -> None:
    """A bit of everything, at random."""
    location, halls = await a_location(service, 100, 100, 100)
    events: list[str] = []
    bookings: list[tuple[Caller, str, str]] = []
    for number in range(12):
        place = {"locationId": location, "hallId": chance.choice(halls), "online": False, "capacity": 60}
        day = f"2027-06-{number + 1:02d}"
        times = {"startsAt": f"{day}T10:00:00Z", "endsAt": f"{day}T12:00:00Z"}
        events.append(await an_event(service, **times, **(place if chance.random() < 0.7 else {})))
    for _ in range(150):
        event = chance.choice(events)
        try:
            match chance.randint(0, 9):
                case 0:
                    await service.cancel_event(ANN, event) if chance.random() < 0.2 else None
                case 1:
                    name = f"House {chance.randint(0, 9)}"
                    await service.change_location(ANN, location, take(LocationPatchInput, {"name": name, "city": None}))
                case 2:
                    await service.move_event(ANN, event, location, chance.choice(halls))
                case 3:
                    await service.change_capacity(ANN, event, chance.randint(10, 100))
                case 4:
                    await service.change_hall(ANN, location, halls[0], HallInput(name="Big", capacity=120))
                case 5:
                    times = {"startsAt": "2027-07-01T10:00:00Z", "endsAt": "2027-07-01T11:00:00Z"}
                    await service.reschedule_event(ANN, event, take(TimesInput, times))
                case 6 if bookings:
                    await service.cancel_booking(*bookings.pop(chance.randrange(len(bookings))))
                case _:
                    who = chance.choice((ANN, BEN))
                    bookings.append((who, event, booking_id(await book(service, event, chance.randint(1, 4), who))))
        except Refused:
            continue


@pytest.mark.parametrize("seed", seeds(4))
async def test_read_models_equal_a_fold_of_the_log(database_url: str, seed: int) -> None:
    pool = await open_pool(database_url, size=12)
    log = StoreLog(pool, PARTITIONS)
    projectors = [Projector(log=log, pool=pool) for _ in range(2)]
    await asyncio.gather(*(projector.prepare() for projector in projectors))
    # Two projectors at once, while it happens: whoever is first applies, the other finds it done.
    following = [asyncio.create_task(projector.run()) for projector in projectors]
    async with command_side(database_url) as service:
        await a_busy_day(service, random.Random(seed))
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    await projectors[0].catch_up()
    assert await pool.fetchval("select count(*) from read.bookings") > 10
    assert await verify(log=log, pool=pool) == []
    await log.close()
    await pool.close()


async def test_a_fact_that_cannot_be_applied_parks_its_own_stream_alone(database_url: str) -> None:
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    async with command_side(database_url) as service:
        events = [await an_event(service) for _ in range(40)]
        await append_nonsense(database_url, events[0])
        for event in events[1:]:
            await book(service, event, 1)
    await projector.catch_up()
    assert [row[0] for row in await pool.fetch("select distinct stream_id from read.parked_streams")] == [events[0]]
    assert await pool.fetchval("select sum(seats_booked) from read.events") == 39
    assert [problem for problem in await verify(log=log, pool=pool) if "parked" in problem]
    await log.close()
    await pool.close()


async def test_verify_tells_of_a_row_that_the_log_does_not_bear_out(database_url: str) -> None:
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    async with command_side(database_url) as service:
        event = await an_event(service)
    await projector.catch_up()
    assert await verify(log=log, pool=pool) == []
    await pool.execute("update read.events_1 set seats_booked = 5")
    assert await verify(log=log, pool=pool) == [
        f"events {event} differs from the log in seats_booked.",
        f"events {event} is wrong in seats_booked, says the audit.",
    ]
    await log.close()
    await pool.close()
