"""Booking on a real database: no seat is sold twice, whatever happens at once."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

from command.inputs import HallInput
from command.service import Caller
from myevents.errors import ErrorCode, Refused
from tests.command_side import (
    ANN,
    BEN,
    a_location,
    an_event,
    book,
    booking_id,
    command_side,
    facts_in_log,
    online_event,
    seats_in_log,
)
from tests.random_cases import seeds


async def test_the_last_seat_goes_to_one_of_two_buyers(database_url: str) -> None:
    async with command_side(database_url) as one, command_side(database_url) as other:
        event = await an_event(one, capacity=1)
        results = await asyncio.gather(book(one, event, 1, ANN), book(other, event, 1, BEN), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Refused)]
    assert [result.code for result in refused] == [ErrorCode.SOLD_OUT]
    assert await seats_in_log(database_url, event) == 1


@pytest.mark.parametrize("seed", seeds(3))
async def test_several_writers_sell_all_seats_and_no_more(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    async with command_side(database_url) as one, command_side(database_url) as other:
        event = await an_event(one, capacity=200)
        wishes = [(chance.choice((one, other)), chance.randint(1, 4)) for _ in range(300)]
        results = await asyncio.gather(
            *(book(service, event, seats) for service, seats in wishes), return_exceptions=True
        )
    sold = sum(seats for (_, seats), result in zip(wishes, results, strict=True) if not isinstance(result, Exception))
    # A wish is refused only where it does not fit, so at the end not even the smallest one refused would.
    smallest = min(seats for (_, seats), result in zip(wishes, results, strict=True) if isinstance(result, Refused))
    assert sold <= 200 < sold + smallest
    assert await seats_in_log(database_url, event) == sold


async def test_cancelled_seats_can_be_booked_again(database_url: str) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service, capacity=3)
        booked = await book(service, event, 3)
        await service.cancel_booking(ANN, event, booking_id(booked))
        await book(service, event, 3, BEN)
    assert await seats_in_log(database_url, event) == 3


async def test_nobody_cancels_the_booking_of_another(database_url: str) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
        booked = await book(service, event, 1, ANN)
        with pytest.raises(Refused) as refused:
            await service.cancel_booking(BEN, event, booking_id(booked))
    assert refused.value.code is ErrorCode.NOT_FOUND
    assert await seats_in_log(database_url, event) == 1


async def test_the_same_key_takes_effect_once_even_when_requests_race(database_url: str) -> None:
    caller = Caller(user_id="usr_ann", idempotency_key="only once")
    async with command_side(database_url) as one, command_side(database_url) as other:
        event = await an_event(one)
        answers = await asyncio.gather(*(book(service, event, 2, caller) for service in (one, other) * 10))
        again = await book(other, event, 2, caller)
    assert {answer.position for answer in answers} == {again.position}
    assert {booking_id(answer) for answer in answers} == {booking_id(again)}
    assert await seats_in_log(database_url, event) == 2


async def test_the_same_key_with_another_body_is_refused(database_url: str) -> None:
    caller = Caller(user_id="usr_ann", idempotency_key="reused")
    async with command_side(database_url) as service:
        event, other = await an_event(service), await an_event(service)
        await book(service, event, 2, caller)
        for target, seats in ((event, 3), (other, 2)):
            with pytest.raises(Refused) as refused:
                await book(service, target, seats, caller)
            assert refused.value.code is ErrorCode.IDEMPOTENCY_KEY_REUSED
    assert await seats_in_log(database_url, other) == 0


async def test_a_key_raced_in_two_partitions_takes_effect_once(database_url: str) -> None:
    caller = Caller(user_id="usr_ann", idempotency_key="two events")
    async with command_side(database_url) as service:
        before = await facts_in_log(database_url)
        results = await asyncio.gather(
            *(service.create_event(caller, online_event(name=name)) for name in ("one", "two") * 8),
            return_exceptions=True,
        )
    accepted = {result.position for result in results if not isinstance(result, BaseException)}
    codes = {result.code for result in results if isinstance(result, Refused)}
    assert len(accepted) == 1
    assert codes == {ErrorCode.IDEMPOTENCY_KEY_REUSED}
    assert await facts_in_log(database_url) == before + 2


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(database_url: str) -> None:
    blocker = await asyncpg.connect(database_url)
    async with command_side(database_url, queue_size=5) as service:
        event = await an_event(service)
        async with blocker.transaction():
            await blocker.execute("select * from heads for update")
            first = asyncio.create_task(book(service, event, 1))
            await asyncio.sleep(0.2)
            waiting = [asyncio.create_task(book(service, event, 1)) for _ in range(5)]
            await asyncio.sleep(0)
            with pytest.raises(Refused) as refused:
                await book(service, event, 1)
        await asyncio.gather(first, *waiting)
    await blocker.close()
    assert refused.value.code is ErrorCode.OVERLOADED
    assert refused.value.retry_after
    assert await seats_in_log(database_url, event) == 6


async def test_two_events_never_have_one_hall_at_one_time(database_url: str) -> None:
    async with command_side(database_url) as one, command_side(database_url) as other:
        location, (hall,) = await a_location(one, 50)
        place = {"locationId": location, "hallId": hall, "online": False, "capacity": 10}
        results = await asyncio.gather(
            *(service.create_event(ANN, online_event(**place)) for service in (one, other) * 5),
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, Refused)]
        assert [result.code for result in refused] == [ErrorCode.HALL_TAKEN] * 9
        # Right after the first is over, the hall is free.
        times = {"startsAt": "2027-05-01T12:00:00+02:00", "endsAt": "2027-05-01T13:00:00+02:00"}
        await one.create_event(ANN, online_event(**place, **times))


async def test_a_cancelled_event_gives_its_hall_and_its_seats_back(database_url: str) -> None:
    async with command_side(database_url) as service:
        location, (hall,) = await a_location(service, 50)
        place = {"locationId": location, "hallId": hall, "online": False, "capacity": None}
        event = await an_event(service, **place)
        await book(service, event, 1)
        await service.cancel_event(ANN, event)
        with pytest.raises(Refused) as refused:
            await book(service, event, 1)
        assert refused.value.code is ErrorCode.EVENT_CANCELLED
        await an_event(service, **place)


async def test_a_hall_never_gets_smaller_than_an_event_in_it(database_url: str) -> None:
    async with command_side(database_url) as service:
        location, (hall,) = await a_location(service, 50)
        await an_event(service, locationId=location, hallId=hall, online=False, capacity=40)
        await service.change_hall(ANN, location, hall, HallInput(name="Hall", capacity=40))
        with pytest.raises(Refused) as refused:
            await service.change_hall(ANN, location, hall, HallInput(name="Hall", capacity=39))
        assert refused.value.code is ErrorCode.CAPACITY_BELOW_BOOKED
        with pytest.raises(Refused) as refused:
            await service.remove_hall(ANN, location, hall)
        assert refused.value.code is ErrorCode.CONFLICT


async def test_an_event_moves_only_to_a_hall_that_is_free_and_large_enough(database_url: str) -> None:
    async with command_side(database_url) as service:
        location, (large, taken, small) = await a_location(service, 50, 50, 10)
        place = {"locationId": location, "online": False, "capacity": 40}
        event = await an_event(service, hallId=large, **place)
        await an_event(service, hallId=taken, **place)
        for hall, code in ((taken, ErrorCode.HALL_TAKEN), (small, ErrorCode.TOO_MANY_SEATS)):
            with pytest.raises(Refused) as refused:
                await service.move_event(ANN, event, location, hall)
            assert refused.value.code is code


async def test_an_online_event_that_moves_into_a_hall_has_it_alone(database_url: str) -> None:
    async with command_side(database_url) as service:
        location, (hall,) = await a_location(service, 50)
        moved, late = await an_event(service, capacity=40), await an_event(service, capacity=40)
        await service.move_event(ANN, moved, location, hall)
        with pytest.raises(Refused) as refused:
            await service.move_event(ANN, late, location, hall)
        assert refused.value.code is ErrorCode.HALL_TAKEN
        with pytest.raises(Refused) as refused:
            await an_event(service, locationId=location, hallId=hall, online=False, capacity=10)
        assert refused.value.code is ErrorCode.HALL_TAKEN
        with pytest.raises(Refused) as refused:
            await service.change_hall(ANN, location, hall, HallInput(name="Hall", capacity=39))
        assert refused.value.code is ErrorCode.CAPACITY_BELOW_BOOKED


async def test_a_new_process_knows_what_a_snapshot_and_the_facts_after_it_say(database_url: str) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service, capacity=1600)
        await asyncio.gather(*(book(service, event, 1) for _ in range(1500)))
        await _snapshot_taken(database_url, event)
        await book(service, event, 60)
    async with command_side(database_url) as fresh:
        await book(fresh, event, 40)
        with pytest.raises(Refused) as refused:
            await book(fresh, event, 1)
    assert refused.value.code is ErrorCode.SOLD_OUT
    assert await seats_in_log(database_url, event) == 1600


async def _snapshot_taken(database_url: str, event: str) -> None:
    connection = await asyncpg.connect(database_url)
    query = "select 1 from snapshots where stream_id = $1"
    for _ in range(200):
        if await connection.fetchval(query, event):
            break
        await asyncio.sleep(0.05)
    await connection.close()
