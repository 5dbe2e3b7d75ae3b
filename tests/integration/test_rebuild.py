"""A read model is built anew beside the live one, and serves only once it is the same."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from myevents.log.store import StoreLog
from projector.rebuild import BuildsDiffer, RebuildStopped, drop_old, go_back, rebuild
from projector.run import Projector, read_models
from projector.verify import verify
from tests.command_side import a_location, an_event, book, command_side


def quiet(_done: int, _total: int) -> None:
    """No progress bar."""


EVENTS, *_ = MODELS = read_models()


async def some_bookings(database_url: str, events: int = 10) -> list[str]:
    """Events in a location, each booked three times."""
    async with command_side(database_url) as service:
        location, halls = await a_location(service, *[50] * events)
        made = [await an_event(service, locationId=location, hallId=hall, online=False, capacity=40) for hall in halls]
        await asyncio.gather(*(book(service, event, 2) for event in made * 3))
    return made


async def live_build(pool: asyncpg.Pool, model: str) -> int:
    """The number of the build that serves."""
    build: int = await pool.fetchval("select build from read.builds where model = $1 and state = 'live'", model)
    return build


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
async def test_a_rebuilt_model_equals_the_old_one_and_serves(
    database_url: str, pool: asyncpg.Pool, log: StoreLog, model: object
) -> None:
    await some_bookings(database_url)
    await Projector(log=log, pool=pool).prepare()
    await Projector(log=log, pool=pool).catch_up()
    steps: list[tuple[int, int]] = []
    chosen = next(each for each in MODELS if each is model)
    assert await rebuild(chosen, log, pool, lambda done, total: steps.append((done, total))) == []
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1] == sum((await log.heads()).values())
    assert await live_build(pool, chosen.name) == 2
    assert await verify(log=log, pool=pool) == []


async def test_while_people_book_no_query_fails_or_goes_back_in_time(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    events = await some_bookings(database_url)
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    following = asyncio.create_task(projector.run())
    over = asyncio.Event()
    seen: list[int] = []

    async def look() -> None:
        while not over.is_set():
            seen.append(await pool.fetchval("select coalesce(sum(seats_booked), 0) from read.events"))
            await asyncio.sleep(0.001)

    async with command_side(database_url) as service:

        async def buy() -> None:
            for number in range(150):
                if over.is_set():
                    return
                await book(service, events[number % len(events)], 1) if number < 100 else None
                await asyncio.sleep(0.005)

        others = asyncio.gather(look(), buy())
        for _ in range(3):
            await rebuild(EVENTS, log, pool, quiet)
        over.set()
        await others
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await projector.catch_up()
    assert seen == sorted(seen)
    assert await live_build(pool, "events") == 4
    assert await verify(log=log, pool=pool) == []


async def test_a_build_that_differs_does_not_serve_unless_forced(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    events = await some_bookings(database_url)
    await Projector(log=log, pool=pool).prepare()
    await Projector(log=log, pool=pool).catch_up()
    await pool.execute("update read.events_1 set seats_booked = 1 where id = $1", events[0])
    with pytest.raises(BuildsDiffer) as refused:
        await rebuild(EVENTS, log, pool, quiet)
    assert refused.value.differences == [f"events {events[0]} changed"]
    assert await live_build(pool, "events") == 1
    assert await rebuild(EVENTS, log, pool, quiet, force=True) == refused.value.differences
    assert await live_build(pool, "events") == 2
    assert await verify(log=log, pool=pool) == []


async def test_a_rebuild_that_was_cut_short_goes_on_where_it_stopped(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    await some_bookings(database_url, events=30)

    class Cut(Exception):
        """Stands for a kill."""

    def killed(done: int, total: int) -> None:
        if done > total // 2:
            raise Cut

    with pytest.raises(ExceptionGroup):
        await rebuild(EVENTS, log, pool, killed)
    steps: list[int] = []
    await rebuild(EVENTS, log, pool, lambda done, _total: steps.append(done))
    assert steps[0] > 0
    assert await live_build(pool, "events") == 2
    assert await pool.fetchval("select sum(seats_booked) from read.events") == 180


async def test_a_fact_that_cannot_be_read_stops_a_rebuild_which_says_where(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    events = await some_bookings(database_url)
    owner = await asyncpg.connect(database_url)
    async with owner.transaction():
        partition = await owner.fetchval("select partition from facts where stream_id = $1 limit 1", events[0])
        seq = await owner.fetchval("update heads set seq = seq + 1 where partition = $1 returning seq", partition)
        await owner.execute(
            """insert into facts select $1, $2, $3, 99, 'EventSoldToMars', 1, '{}', '{"commandId": "cmd_x"}', now()""",
            partition,
            seq,
            events[0],
        )
    await owner.close()
    with pytest.raises(RebuildStopped, match=f"{partition}:{seq} cannot be read"):
        await rebuild(EVENTS, log, pool, quiet)
    assert await live_build(pool, "events") == 1


async def test_going_back_shows_the_old_build_as_of_now(database_url: str, pool: asyncpg.Pool, log: StoreLog) -> None:
    events = await some_bookings(database_url)
    await Projector(log=log, pool=pool).prepare()
    await Projector(log=log, pool=pool).catch_up()
    await rebuild(EVENTS, log, pool, quiet)
    async with command_side(database_url) as service:
        await book(service, events[0], 3)
    await Projector(log=log, pool=pool, models=[EVENTS]).catch_up()
    await go_back(EVENTS, log, pool)
    assert await live_build(pool, "events") == 1
    assert await pool.fetchval("select seats_booked from read.events where id = $1", events[0]) == 9


async def test_after_dropping_the_old_builds_there_is_no_going_back(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    await some_bookings(database_url)
    await rebuild(EVENTS, log, pool, quiet)
    assert await drop_old(EVENTS, pool) == [1]
    assert await pool.fetchval("select to_regclass('read.events_1')") is None
    with pytest.raises(RebuildStopped):
        await go_back(EVENTS, log, pool)


async def test_one_rebuild_of_a_model_at_a_time(database_url: str, pool: asyncpg.Pool, log: StoreLog) -> None:
    await some_bookings(database_url)
    results = await asyncio.gather(*(rebuild(EVENTS, log, pool, quiet) for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, BaseException)] == [RebuildStopped]


async def test_a_fact_that_does_not_fit_stops_a_rebuild_which_says_where(
    database_url: str, pool: asyncpg.Pool, log: StoreLog
) -> None:
    (event,) = await some_bookings(database_url, events=1)
    owner = await asyncpg.connect(database_url)
    async with owner.transaction():
        partition = await owner.fetchval("select partition from facts where stream_id = $1 limit 1", event)
        seq = await owner.fetchval("update heads set seq = seq + 1 where partition = $1 returning seq", partition)
        await owner.execute(
            "insert into facts select $1, $2, $3, 99, 'EventPublished', 1, '{}', '{\"commandId\": \"cmd_x\"}', now()",
            partition,
            seq,
            event,
        )
    await owner.close()
    with pytest.raises(RebuildStopped, match=f"{partition}:{seq} EventPublished of {event}"):
        await rebuild(EVENTS, log, pool, quiet)
    assert await live_build(pool, "events") == 1
