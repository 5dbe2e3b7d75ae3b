"""One command that cannot be decided or recorded fails alone; all others of its round are answered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable

import asyncpg
import pytest

from command import streams
from command.commands import HallOnOffer
from command.event.commands import BookSeats
from command.round import Accepted
from command.service import Caller, CommandService
from command.streams import AnyCommand, State
from schema.facts import Fact
from schema.ids import partition_of
from schema.tables import PARTITIONS
from tests.command_side import ANN, BEN, a_location, an_event, book, command_side, online_event, seats_in_log

OTHERS = 40


async def in_one_round(
    database_url: str, partition: int, *commands: Awaitable[Accepted]
) -> list[Accepted | BaseException]:
    """The outcomes of commands that wait together: the partition is locked until all of them do."""
    blocker = await asyncpg.connect(database_url)
    try:
        async with blocker.transaction():
            await blocker.execute("select from heads where partition = $1 for update", partition)
            results = asyncio.gather(*commands, return_exceptions=True)
            await asyncio.sleep(0.2)
    finally:
        await blocker.close()
    return await results


async def forbid(database_url: str, table: str, column: str, value: str) -> None:
    """Let the database fail whoever inserts `value`, in a way that no code foresees."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """create function forbid() returns trigger language plpgsql as
            $$ begin raise exception 'forbidden' using errcode = 'XX001'; end $$"""
    )
    await connection.execute(
        f"create trigger forbid before insert on {table} for each row when (new.{column} = '{value}')"
        " execute function forbid()"
    )
    await connection.close()


def assert_others_booked(results: list[Accepted | BaseException]) -> None:
    """All but the first are accepted; the first is no refusal, but failed."""
    first, *others = results
    assert isinstance(first, Exception), first
    assert [type(result) for result in others] == [Accepted] * len(others)


async def events_of_one_partition(service: CommandService, count: int) -> list[str]:
    """So many new events that live in one partition."""
    found: dict[int, list[str]] = {}
    while True:
        event = await an_event(service)
        events = found.setdefault(partition_of(event, PARTITIONS), [])
        events.append(event)
        if len(events) == count:
            return events


@pytest.mark.parametrize(
    ("raised", "answered"), [(ZeroDivisionError, ZeroDivisionError), (StopIteration, RuntimeError)]
)
async def test_a_command_that_raises_as_it_is_decided_fails_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch, raised: type[Exception], answered: type[Exception]
) -> None:
    decide = streams.decide

    def fail_for_ben(state: State, command: AnyCommand, hall: HallOnOffer | None) -> list[Fact]:
        if isinstance(command, BookSeats) and command.user_id == BEN.user_id:
            raise raised
        return decide(state, command, hall)

    monkeypatch.setattr(streams, "decide", fail_for_ben)
    async with command_side(database_url) as service:
        event = await an_event(service)
        results = await in_one_round(
            database_url,
            partition_of(event, PARTITIONS),
            book(service, event, 1, BEN),
            *(book(service, event, 1) for _ in range(OTHERS)),
        )
    assert_others_booked(results)
    assert isinstance(results[0], answered)
    assert await seats_in_log(database_url, event) == OTHERS


async def test_a_command_whose_fact_the_database_will_not_take_fails_alone(database_url: str) -> None:
    async with command_side(database_url) as service:
        culprit, event = await events_of_one_partition(service, 2)
        await forbid(database_url, "facts", "stream_id", culprit)
        results = await in_one_round(
            database_url,
            partition_of(event, PARTITIONS),
            book(service, culprit, 1, BEN),
            *(book(service, event, 1) for _ in range(OTHERS)),
        )
        assert_others_booked(results)
        # What was decided beside it is what is remembered: the next one goes on from there.
        await book(service, event, 1)
    assert await seats_in_log(database_url, event) == OTHERS + 1
    assert await seats_in_log(database_url, culprit) == 0


async def test_a_command_whose_claim_the_database_will_not_take_fails_alone(database_url: str) -> None:
    async with command_side(database_url) as service:
        location, (hall,) = await a_location(service, 50)
        moved, event = await events_of_one_partition(service, 2)
        await forbid(database_url, "hall_events", "event_id", moved)
        await service.change_capacity(ANN, moved, 10)
        results = await in_one_round(
            database_url,
            partition_of(event, PARTITIONS),
            service.move_event(BEN, moved, location, hall),
            *(book(service, event, 1) for _ in range(OTHERS)),
        )
    assert_others_booked(results)
    assert await seats_in_log(database_url, event) == OTHERS


async def test_a_key_of_any_length_fails_nobody(database_url: str) -> None:
    long = Caller(user_id="usr_ben", idempotency_key="k#" + secrets.token_hex(4_000))
    async with command_side(database_url) as service:
        event = await an_event(service)
        results = await in_one_round(
            database_url,
            partition_of(event, PARTITIONS),
            *(book(service, event, 1, caller) for caller in [long, long] + [ANN] * OTHERS),
        )
    assert [type(result) for result in results] == [Accepted] * (OTHERS + 2)
    assert await seats_in_log(database_url, event) == OTHERS + 1


async def deadlocks(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("select pg_stat_force_next_flush()")
        found: int = await connection.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )
        return found
    finally:
        await connection.close()


async def test_keys_that_one_caller_uses_everywhere_at_once_hold_nobody_up(database_url: str) -> None:
    """The same keys go to events of many partitions, in other orders: no round waits for another one's keys."""
    caller = ANN.user_id
    async with command_side(database_url) as one, command_side(database_url) as other:
        events = {partition_of(event, PARTITIONS): event for event in [await an_event(one) for _ in range(40)]}
        wanted = await an_event(one, capacity=1000)

        async def storm(number: int) -> None:
            for service in (one, other):
                keys = [f"{number}-{key}" for key in range(12)]
                await asyncio.gather(
                    *(
                        book(service, event, 1, Caller(user_id=caller, idempotency_key=key))
                        for shift, event in enumerate(list(events.values())[:6])
                        for key in keys[shift * 2 :] + keys[: shift * 2]
                    ),
                    return_exceptions=True,
                )

        storms = [asyncio.create_task(storm(number)) for number in range(8)]
        booked = await asyncio.gather(*(book(one, wanted, 1, BEN) for _ in range(200)))
        await asyncio.gather(*storms)
    assert len(booked) == 200
    assert await deadlocks(database_url) == 0


async def test_what_creates_is_created_once_however_the_same_request_races(database_url: str) -> None:
    async with command_side(database_url) as one, command_side(database_url) as other:
        for number in range(10):
            callers = [Caller(user_id="usr_ann", idempotency_key=f"{number}-{key}") for key in range(6)]
            answers = await asyncio.gather(
                *(
                    service.create_event(caller, online_event(name=caller.idempotency_key))
                    for service in (one, other) * 3
                    for caller in callers
                )
            )
            assert len({answer.position for answer in answers}) == len(callers)
    assert await deadlocks(database_url) == 0


async def test_a_key_that_the_release_before_remembered_gets_the_same_answer(database_url: str) -> None:
    caller = Caller(user_id="usr_ann", idempotency_key="before the upgrade")
    async with command_side(database_url) as service:
        event = await an_event(service)
        first = await book(service, event, 2, caller)
        connection = await asyncpg.connect(database_url)
        # As the release before stored it: under user and key.
        await connection.execute(
            """insert into idempotency (user_id, key, body_hash, answer, recorded_at)
               select $1, $2, body_hash, answer, recorded_at from command_answers""",
            caller.user_id,
            caller.idempotency_key,
        )
        await connection.execute("truncate command_answers")
        await connection.close()
        assert await book(service, event, 2, caller) == first
    assert await seats_in_log(database_url, event) == 2
