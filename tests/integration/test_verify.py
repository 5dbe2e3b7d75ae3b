"""`verify` is exact at one moment: what goes on meanwhile is no breach, and a breach is found while it goes on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from command.inputs import HallInput, LocationPatchInput, take
from command.service import Caller, CommandService
from myevents.errors import Refused
from myevents.log.store import StoreLog
from projector.rebuild import drop_old, rebuild
from projector.run import Projector, read_models
from projector.verify import examine, verify
from tests.command_side import ANN, a_location, an_event, book, booking_id, command_side

CALLERS = 32


class Town:
    """A location with events in it, and callers who book, cancel and change it until told to stop."""

    def __init__(self, service: CommandService) -> None:
        self._service = service
        self._step = asyncio.Event()
        self.stopping = False

    async def build(self) -> None:
        """A hall for each event."""
        self.location, self.halls = await a_location(self._service, *[200] * 12)
        place = {"locationId": self.location, "online": False, "capacity": 100}
        self.events = [await an_event(self._service, hallId=hall, **place) for hall in self.halls]

    async def live(self, number: int) -> None:
        """One caller's day."""
        chance, who = random.Random(number), Caller(user_id=f"usr_{number}")
        mine: list[tuple[str, str]] = []
        while not self.stopping:
            with suppress(Refused):
                await self._one(chance, who, mine)
            self._step.set()
            await asyncio.sleep(chance.uniform(0, 0.03))

    async def goes_on(self, steps: int) -> None:
        """Return once callers have done so much more."""
        for _ in range(steps):
            self._step.clear()
            await self._step.wait()

    async def _one(self, chance: random.Random, who: Caller, mine: list[tuple[str, str]]) -> None:
        match chance.randint(0, 9):
            case 0:
                change = {"name": f"House {chance.randint(0, 99)}", "city": chance.choice(["Delft", None])}
                await self._service.change_location(ANN, self.location, take(LocationPatchInput, change))
            case 1:
                hall = HallInput(name="Hall", capacity=chance.randint(100, 300))
                await self._service.change_hall(ANN, self.location, chance.choice(self.halls), hall)
            case 2 | 3 | 4 if mine:
                await self._service.cancel_booking(who, *mine.pop())
            case _:
                event = chance.choice(self.events)
                mine.append((event, booking_id(await book(self._service, event, chance.randint(1, 3), who))))


@asynccontextmanager
async def a_town_that_lives(database_url: str, pool: asyncpg.Pool, log: StoreLog) -> AsyncIterator[Town]:
    """32 callers at work and a projector that follows them, while the test looks on."""
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    async with command_side(database_url) as service:
        town = Town(service)
        await town.build()
        following = asyncio.create_task(projector.run())
        callers = [asyncio.create_task(town.live(number)) for number in range(CALLERS)]
        try:
            yield town
        finally:
            town.stopping = True
            await asyncio.gather(*callers)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_verify_is_clean_while_people_book(database_url: str, pool: asyncpg.Pool, log: StoreLog) -> None:
    async with a_town_that_lives(database_url, pool, log) as town:
        for _ in range(8):
            await town.goes_on(20)
            assert await verify(log=log, pool=pool) == []
    await Projector(log=log, pool=pool).catch_up()
    assert await verify(log=log, pool=pool, strict=True) == []
    assert await pool.fetchval("select count(*) from read.bookings") > 200


async def test_verify_finds_a_wrong_row_while_people_book(database_url: str, pool: asyncpg.Pool, log: StoreLog) -> None:
    async with a_town_that_lives(database_url, pool, log) as town:
        await town.goes_on(100)
        booking = await pool.fetchval("select id from read.bookings where status = 'CANCELLED' limit 1")
        await pool.execute("update read.bookings_1 set seats = seats + 1 where id = $1", booking)
        await pool.execute("update read.events_1 set description = 'x' where id = $1", town.events[0])
        problems = await verify(log=log, pool=pool)
    assert f"bookings {booking} differs from the log in seats." in problems
    assert f"events {town.events[0]} differs from the log in description." in problems


async def test_verify_is_clean_while_models_are_rebuilt_and_dropped(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    over = False

    async def look() -> int:
        looks = 0
        while not over:
            assert await verify(log=log, pool=pool) == []
            looks += 1
        return looks

    async with a_town_that_lives(database_url, pool, log):
        looking = asyncio.create_task(look())
        for model in read_models():
            await rebuild(model, log, pool, lambda _done, _total: None)
            try:
                await drop_old(model, pool)
            except asyncpg.LockNotAvailableError:
                continue
        over = True
        assert await looking > 1


async def test_verify_tells_of_missing_extra_unreadable_and_forgotten_rows(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    async with command_side(database_url) as service:
        location, halls = await a_location(service, 10, 10)
        events = [await an_event(service, locationId=location, hallId=hall, online=False, capacity=5) for hall in halls]
        booking = booking_id(await book(service, events[0], 2))
    await projector.catch_up()
    await pool.execute('update read.event_locations_1 set location = location || \'{"country": "BE"}\'')
    await pool.execute("delete from read.bookings_1")
    await pool.execute("update read.events_1 set id = 'evt_x' where id = $1", events[0])
    await pool.execute("update read.locations_1 set halls = '[1]'")
    problems = await verify(log=log, pool=pool)
    assert "events has evt_x, which the log does not." in problems
    assert f"events lacks {events[0]}." in problems
    assert f"bookings lacks {booking}." in problems
    assert f"event_locations {location} differs from the log in location." in problems
    assert [problem for problem in problems if problem.startswith(f"locations {location} cannot be read: ")]


async def test_lag_is_told_but_no_breach_unless_asked_for(database_url: str, pool: asyncpg.Pool, log: StoreLog) -> None:
    projector = Projector(log=log, pool=pool)
    found = await examine(log=log, pool=pool)
    assert (found.problems, found.behind) == ([], [f"{model} has not come to be yet." for model in _names()])
    await projector.prepare()
    async with command_side(database_url) as service:
        event = await an_event(service)
        await projector.catch_up()
        position = (await book(service, event, 1)).position
    partition, seq = position.split(":")
    lag = [f"{model} has come to {partition}:{int(seq) - 1}, the log to {seq}." for model in _names()]
    found = await examine(log=log, pool=pool)
    assert (found.problems, found.behind) == ([], lag)
    assert await verify(log=log, pool=pool, strict=True) == lag


async def test_a_model_that_claims_more_than_the_log_has_is_a_breach(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    await Projector(log=log, pool=pool).prepare()
    async with command_side(database_url) as service:
        await an_event(service)
    await Projector(log=log, pool=pool).catch_up()
    await pool.execute("update read.checkpoints set seq = 99 where model = 'events' and partition = 3")
    head = (await log.heads())[3]
    assert await verify(log=log, pool=pool) == [f"events has come to 3:99, the log to {head}."]


async def test_a_parked_stream_is_told_and_its_row_held_against_the_facts_before(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    async with command_side(database_url) as service:
        event = await an_event(service)
        await book(service, event, 2)
        await projector.catch_up()
        # What the projector does where it cannot apply the next fact.
        partition, seq = (await book(service, event, 3)).position.split(":")
        await pool.execute(
            "insert into read.parked_streams (model, build, stream_id, partition, seq, reason)"
            " values ('events', 1, $1, $2, $3, 'no reason')",
            event,
            int(partition),
            int(seq),
        )
        await projector.catch_up()
    assert await pool.fetchval("select seats_booked from read.events") == 2
    assert await verify(log=log, pool=pool) == [f"events has parked {event}: no reason."]


def _names() -> list[str]:
    return sorted(model.name for model in read_models())
