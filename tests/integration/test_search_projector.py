"""The search index follows the log by itself, whatever happens to it, its process or its files."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from msgspec import Struct

from command.inputs import LocationPatchInput, take
from myevents.log.store import StoreLog
from myevents.search.elastic.address import address_of
from myevents.search.elastic.builds import ElasticBuilds
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.search.port import SearchBuilds, SearchQuery
from myevents.store import open_pool
from projector.rebuild import BuildsDiffer, RebuildStopped
from projector.search import LONGEST_REST, PAUSE, SearchProjector, rest_after
from projector.search_rebuild import drop_old, go_back, rebuild_search
from projector.search_registry import FOLLOWERS_WAIT, alone
from projector.search_verify import verify_search
from schema.tables import PARTITIONS
from tests.command_side import ANN, a_location, an_event, book, command_side
from tests.elastic import search_url_of_its_own
from tests.integration.nonsense import append_nonsense
from tests.integration.test_projector import a_busy_day
from tests.random_cases import seeds
from tests.search_corpus import all_events

Opened = Callable[[], SearchBuilds]


class Side(Struct, frozen=True):
    """A search side on a database and an index of its own."""

    pool: asyncpg.Pool
    log: StoreLog
    builds: SearchBuilds
    projector: SearchProjector

    async def breaches(self) -> list[str]:
        """What `verify` says of the index."""
        return await verify_search(log=self.log, pool=self.pool, builds=self.builds)


async def search_side(database_url: str, builds: SearchBuilds, stack: AsyncExitStack) -> Side:
    """A search side as one process has it, closed with the stack."""
    pool = await open_pool(database_url)
    stack.push_async_callback(pool.close)
    log = StoreLog(pool, PARTITIONS)
    stack.push_async_callback(log.close)
    stack.push_async_callback(builds.close)
    return Side(pool, log, builds, SearchProjector(log=log, pool=pool, builds=builds))


@pytest.fixture(params=["embedded", "elastic"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack) -> Opened:
    """Opens the index of this test, of each engine, as another process would."""
    if request.param == "embedded":
        return lambda: EmbeddedBuilds(tmp_path / "search")
    address = address_of(await stack.enter_async_context(search_url_of_its_own()))
    return lambda: ElasticBuilds(address)


@pytest.fixture
async def side(database_url: str, opened: Opened, stack: AsyncExitStack) -> Side:
    """The search side of this test."""
    return await search_side(database_url, opened(), stack)


@pytest.mark.parametrize("seed", seeds(3))
async def test_the_index_equals_a_fold_of_the_log(database_url: str, side: Side, seed: int) -> None:
    following = asyncio.create_task(side.projector.run())
    async with command_side(database_url) as service:
        await a_busy_day(service, random.Random(seed))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await side.projector.catch_up()
    assert len(await all_events(await side.builds.live())) == 12
    assert await side.breaches() == []


async def test_a_location_that_changes_changes_the_events_in_it(database_url: str, side: Side) -> None:
    await side.projector.prepare()
    async with command_side(database_url) as service:
        location, halls = await a_location(service, 100)
        event = await an_event(service, locationId=location, hallId=halls[0], online=False, capacity=60)
        await side.projector.catch_up()
        await service.change_location(ANN, location, take(LocationPatchInput, {"name": "Konzerthaus", "city": "Wien"}))
        await side.projector.catch_up()
    index = await side.builds.live()
    for text in ("konzerthaus", "wien"):
        assert [hit.event.id for hit in (await index.search(SearchQuery(text=text))).hits] == [event]
    assert (await index.search(SearchQuery(text="house"))).total == 0


async def test_an_index_whose_files_are_lost_is_filled_again(
    database_url: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    side = await search_side(database_url, EmbeddedBuilds(tmp_path / "search"), stack)
    await side.projector.prepare()
    async with command_side(database_url) as service:
        events = [await an_event(service) for _ in range(20)]
    await side.projector.catch_up()
    await side.builds.close()
    shutil.rmtree(tmp_path / "search")
    again = await search_side(database_url, EmbeddedBuilds(tmp_path / "search"), stack)
    await again.projector.prepare()
    assert await again.pool.fetchval("select max(seq) from read.checkpoints where model = 'search'") == 0
    await again.projector.catch_up()
    assert set(await all_events(await again.builds.live())) == set(events)


async def test_an_index_of_another_log_is_not_gone_on_with(database_url: str, side: Side) -> None:
    foreign = await side.builds.live()
    await foreign.write([], [], {3: 1_000_000})
    async with command_side(database_url) as service:
        event = await an_event(service)
    await side.projector.prepare()
    await side.projector.catch_up()
    assert list(await all_events(await side.builds.live())) == [event]


async def test_a_second_process_takes_over_when_the_first_ends(
    database_url: str, side: Side, opened: Opened, stack: AsyncExitStack
) -> None:
    second = await search_side(database_url, opened(), stack)
    await side.projector.prepare()
    waiting = asyncio.create_task(second.projector.run())
    async with command_side(database_url) as service:
        await an_event(service)
        await side.projector.catch_up()
        await asyncio.sleep(0.3)
        await side.builds.close()
        event = await an_event(service)
        async with asyncio.timeout(10):
            while event not in await (await second.builds.live()).events([event]):  # noqa: ASYNC110 - another process writes
                await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await second.breaches() == []


async def test_a_fact_that_cannot_be_read_parks_its_stream_alone(database_url: str, side: Side) -> None:
    await side.projector.prepare()
    async with command_side(database_url) as service:
        events = [await an_event(service) for _ in range(20)]
        await append_nonsense(database_url, events[0])
        for event in events:
            await book(service, event, 1) if event != events[0] else None
    await side.projector.catch_up()
    parked = await side.pool.fetch("select stream_id from read.parked_streams where model = 'search'")
    assert [row[0] for row in parked] == [events[0]]
    rows = await all_events(await side.builds.live())
    assert {row.seats_booked for key, row in rows.items() if key != events[0]} == {1}
    with pytest.raises(RebuildStopped, match="EventSoldToMars"):
        await rebuild_search(side.log, side.pool, side.builds, lambda _done, _total: None)


async def test_a_rebuild_beside_people_who_book_gives_the_same_index(database_url: str, side: Side) -> None:
    following = asyncio.create_task(side.projector.run())
    async with command_side(database_url) as service:
        events = [await an_event(service, capacity=1000) for _ in range(5)]

        async def buyer(number: int) -> None:
            for _ in range(40):
                await book(service, events[number % 5], 1)

        async def watcher() -> None:
            """Nobody sees the number of seats go back."""
            most = dict.fromkeys(events, 0)
            while not done.is_set():
                rows = await (await side.builds.live()).events(events)
                for key, row in rows.items():
                    assert row.seats_booked >= most[key]
                    most[key] = row.seats_booked
                await asyncio.sleep(0.005)

        done = asyncio.Event()
        watching = asyncio.create_task(watcher())
        booking = asyncio.gather(*(buyer(number) for number in range(16)))
        seen: list[tuple[int, int]] = []
        for _ in range(3):
            await rebuild_search(side.log, side.pool, side.builds, lambda *progress: seen.append(progress))
        await booking
        done.set()
        await watching
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await side.projector.catch_up()
    assert seen[-1][0] >= seen[-1][1] > 0
    assert await side.builds.serving() == 4
    assert sum(row.seats_booked for row in (await all_events(await side.builds.live())).values()) == 640
    assert await side.breaches() == []
    await go_back(side.log, side.pool, side.builds)
    assert await side.builds.serving() == 3
    assert await side.breaches() == []
    assert await drop_old(side.pool, side.builds) == [1, 2, 4]


async def test_a_rebuild_that_differs_is_not_swapped_in(database_url: str, side: Side) -> None:
    await side.projector.prepare()
    async with command_side(database_url) as service:
        event = await an_event(service)
    await side.projector.catch_up()
    live = await side.builds.live()
    [row] = (await live.events([event])).values()
    await live.write(
        [row.__class__(**{name: getattr(row, name) for name in row.__struct_fields__} | {"url": "x"})], [], {}
    )
    assert await side.breaches() == [f"search event {event} differs from the log in url."]
    with pytest.raises(BuildsDiffer, match="changed"):
        await rebuild_search(side.log, side.pool, side.builds, lambda _done, _total: None)
    assert await side.builds.serving() == 1
    forced = await rebuild_search(side.log, side.pool, side.builds, lambda _done, _total: None, force=True)
    assert forced == [f"event {event} changed"]
    assert await side.breaches() == []


async def test_rows_that_a_killed_writer_left_ahead_of_the_checkpoints_do_not_stop_a_rebuild(
    database_url: str, side: Side
) -> None:
    await side.projector.prepare()
    live = await side.builds.live()
    async with command_side(database_url) as service:
        event = await an_event(service)
        await side.projector.catch_up()
        before = await live.checkpoints()
        await book(service, event, 2)
    await side.projector.catch_up()
    await live.write([], [], before)
    await rebuild_search(side.log, side.pool, side.builds, lambda _done, _total: None)
    assert await side.builds.serving() == 2
    assert (await all_events(await side.builds.live()))[event].seats_booked == 2
    assert await side.breaches() == []


async def test_a_rebuild_waits_for_its_turn_longer_than_followers_do(side: Side) -> None:
    await side.projector.prepare()

    async def a_slow_round() -> None:
        async with alone(side.pool):
            held.set()
            await asyncio.sleep(FOLLOWERS_WAIT + 1)

    held = asyncio.Event()
    writing = asyncio.create_task(a_slow_round())
    await held.wait()
    with pytest.raises(asyncpg.LockNotAvailableError):
        await side.projector.catch_up()
    await rebuild_search(side.log, side.pool, side.builds, lambda _done, _total: None)
    await writing
    assert await side.builds.serving() == 2


def test_an_index_that_was_slow_once_is_not_long_behind() -> None:
    assert rest_after(0.001, 3.0) == PAUSE
    assert rest_after(0.2, 3.0) == pytest.approx(0.6)
    assert rest_after(60.0, 3.0) == LONGEST_REST
