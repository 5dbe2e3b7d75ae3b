"""A row that cannot be read or written costs its own stream, is named, and comes back from the facts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from command.inputs import BookingInput, HallInput
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from myevents.telemetry import read_models as telemetry
from myevents.telemetry.read_models import Following
from projector.bookings import Bookings
from projector.events import Events
from projector.locations import Locations
from projector.model import Connection
from projector.parked import parked_streams, retry
from projector.rebuild import BuildsDiffer, RebuildStopped, rebuild
from projector.run import Projector, read_models
from projector.search import SearchProjector
from projector.search_rebuild import rebuild_search
from projector.search_verify import verify_search
from projector.verify import verify
from schema.facts import EventPublished, RecordedFact
from schema.ids import new_id, partition_of
from schema.tables import PARTITIONS
from tests.command_side import ANN, a_location, an_event, book, booking_id, command_side
from tests.history import record
from tests.integration.test_audit import booked, created

MODELS = {model.name: model for model in read_models()}
LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def quiet(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture
async def projector(pool: asyncpg.Pool, log: StoreLog) -> Projector:
    """A projector whose builds are made."""
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    return projector


async def retry_all(pool: asyncpg.Pool, log: StoreLog) -> list[str | None]:
    """Retry what is parked; why each stays so."""
    return [await retry(each, MODELS[each.model], log, pool) for each in await parked_streams(pool)]


SPOILED = {
    "events": "update read.events_1 set ends_at = 'infinity' where id = $1",
    "bookings": "update read.bookings_1 set lines = '[1]' where event_id = $1",
    "locations": "update read.locations_1 set halls = '[1]' where id = $1",
    "event_locations": 'update read.event_locations_1 set location = \'{"id": "loc_a"}\' where id = $1',
}


@pytest.mark.parametrize("table", SPOILED)
async def test_a_row_that_cannot_be_read_parks_its_stream_alone_and_a_retry_brings_it_back(
    database_url: str, pool: asyncpg.Pool, log: StoreLog, projector: Projector, table: str
) -> None:
    async with command_side(database_url) as service:
        location, halls = await a_location(service, 200)
        event, other = (
            await an_event(service, locationId=location, hallId=halls[0], online=False),
            await an_event(service),
        )
        booking = booking_id(await book(service, event, 2))
        await projector.catch_up()
        stream = location if "locations" in table else event
        await pool.execute(SPOILED[table], stream)
        await service.change_hall(ANN, location, halls[0], HallInput(name="Large", capacity=300))
        await service.cancel_booking(ANN, event, booking)
        await service.book_seats(ANN, other, BookingInput(seats=3))
        await projector.catch_up()
        await book(service, event, 1)
        await projector.catch_up()
    model = "events" if table == "event_locations" else table
    (parked,) = await parked_streams(pool)
    assert (parked.model, parked.stream_id) == (model, stream)
    assert "cannot be read" in parked.reason
    assert await pool.fetchval("select seats_booked from read.events where id = $1", other) == 3
    assert any(stream in problem or booking in problem for problem in await verify(log=log, pool=pool))
    assert await retry_all(pool, log) == [None]
    assert await verify(log=log, pool=pool, strict=True) == []


async def test_a_rebuild_names_a_row_that_cannot_be_read_and_replaces_it_by_force(
    database_url: str, pool: asyncpg.Pool, log: StoreLog, projector: Projector
) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
        await projector.catch_up()
        await pool.execute(SPOILED["events"], event)
        await book(service, event, 1)
    with pytest.raises(BuildsDiffer, match=event):
        await rebuild(Events(), log, pool, quiet)
    assert await rebuild(Events(), log, pool, quiet, force=True) == [f"events {event} changed"]
    assert await verify(log=log, pool=pool) == []


async def test_a_row_that_cannot_be_written_parks_its_stream_and_a_rebuild_names_it(
    database_url: str, pool: asyncpg.Pool, log: StoreLog, projector: Projector
) -> None:
    await record(database_url, [("evt_a", created(10, 10)), ("evt_b", created(2**40, 10)), ("evt_a", booked(1, 2))])
    await projector.catch_up()
    assert [(each.model, each.stream_id) for each in await parked_streams(pool)] == [("events", "evt_b")]
    assert await pool.fetchval("select seats_booked from read.events where id = 'evt_a'") == 2
    assert any("events has parked evt_b" in problem for problem in await verify(log=log, pool=pool))
    with pytest.raises(RebuildStopped, match=r"EventCreated of evt_b: NumericValueOutOfRangeError"):
        await rebuild(Events(), log, pool, quiet)


async def test_a_time_that_its_offset_carries_out_of_range_parks_its_stream_everywhere(
    database_url: str, pool: asyncpg.Pool, log: StoreLog, projector: Projector, directory: Path
) -> None:
    late = LAST_SECOND.replace(tzinfo=timezone(timedelta(hours=-5)))
    await record(
        database_url, [("evt_a", created(10, 10)), ("evt_b", replace(created(10, 10), starts_at=late, ends_at=late))]
    )
    await projector.catch_up()
    assert [each.stream_id for each in await parked_streams(pool, "events")] == ["evt_b"]
    assert await pool.fetchval("select count(*) from read.events where id = 'evt_a'") == 1
    assert any("events has parked evt_b" in problem for problem in await verify(log=log, pool=pool))
    with pytest.raises(RebuildStopped, match="EventCreated of evt_b: OverflowError"):
        await rebuild(Events(), log, pool, quiet)
    builds = EmbeddedBuilds(directory)
    search = SearchProjector(log=log, pool=pool, builds=builds)
    await search.prepare()
    await search.catch_up()
    assert await verify_search(log=log, pool=pool, builds=builds) == ["search has parked evt_b: OverflowError."]
    await builds.close()


async def test_the_last_second_and_offsets_with_seconds_are_read_whatever_the_zone_of_the_server(
    database_url: str,
) -> None:
    owner = await asyncpg.connect(database_url)
    name = await owner.fetchval("select current_database()")
    await owner.execute(f"alter database {name} set timezone = 'Europe/Berlin'")
    await owner.close()
    times = {"starts_at": datetime(1889, 1, 1, tzinfo=UTC), "ends_at": LAST_SECOND}
    event = new_id("evt")
    await record(database_url, [(event, replace(created(10, 10), **times)), (event, EventPublished())])
    async with command_side(database_url) as service:
        own = await open_pool(database_url)
        try:
            projector = Projector(log=StoreLog(own, PARTITIONS), pool=own)
            await projector.prepare()
            await projector.catch_up()
            for _ in range(2):
                await book(service, event, 1)
                await projector.catch_up()
            assert await parked_streams(own) == []
            for model in read_models():
                assert await rebuild(model, StoreLog(own, PARTITIONS), own, quiet) == []
            assert await verify(log=StoreLog(own, PARTITIONS), pool=own, strict=True) == []
        finally:
            await own.close()


class Broken(Events):
    """A model whose code has a defect that shows at one stream."""

    stream = ""

    async def apply(self, connection: Connection, build: int, facts: Sequence[RecordedFact]) -> None:
        if any(fact.stream_id == self.stream for fact in facts):
            raise RuntimeError
        await super().apply(connection, build, facts)


async def test_a_projector_that_does_not_advance_in_one_partition_is_not_ready_while_the_others_go_on(
    database_url: str, pool: asyncpg.Pool, log: StoreLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "STUCK", 0.05)
    broken, following = Broken(), Following(CollectorRegistry())
    projector = Projector(log=log, pool=pool, models=(broken, Locations(), Bookings()), following=following)
    await projector.prepare()
    names = [f"evt_{number}" for number in range(40)]
    first = next(name for name in names if partition_of(name, PARTITIONS) == 0)
    last = next(name for name in names if partition_of(name, PARTITIONS) == PARTITIONS - 1)
    await record(database_url, [(first, created(10, 10)), (last, created(10, 10))])
    broken.stream = first
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await projector.catch_up()
        await asyncio.sleep(0.1)
    # As what is applied elsewhere does.
    following.turned("read models")
    assert await pool.fetchval("select array_agg(id) from read.events") == [last]
    assert await pool.fetchval("select seq from read.checkpoints where model = 'bookings' and partition = 0") == 1
    assert await following.amiss() == "does not advance: events 0:0"
    broken.stream = ""
    await projector.catch_up()
    await projector.catch_up()
    assert await following.amiss() is None


async def test_a_row_of_the_index_that_cannot_be_read_parks_its_stream_alone_and_a_rebuild_replaces_it(
    database_url: str, pool: asyncpg.Pool, log: StoreLog, directory: Path
) -> None:
    builds = EmbeddedBuilds(directory)
    search = SearchProjector(log=log, pool=pool, builds=builds)
    await search.prepare()
    async with command_side(database_url) as service:
        event, other = await an_event(service), await an_event(service)
        await search.catch_up()
        index = await builds.live()
        row = (await index.events([event]))[event]
        await index.write([replace(row, capacity="many")], [], await index.checkpoints())
        for each in (event, other):
            await book(service, each, 1)
        await search.catch_up()
        await book(service, event, 1)
        await search.catch_up()
    parked = await pool.fetch("select stream_id, reason from read.parked_streams where model = 'search'")
    assert [tuple(row) for row in parked] == [(event, "a row of the index cannot be read")]
    assert (await index.events([other]))[other].seats_booked == 1
    assert await verify_search(log=log, pool=pool, builds=builds) == [
        "search has a row that cannot be read: rebuild the index."
    ]
    with pytest.raises(BuildsDiffer, match="a row of the live index that cannot be read"):
        await rebuild_search(log, pool, builds, quiet)
    assert await rebuild_search(log, pool, builds, quiet, force=True)
    assert await verify_search(log=log, pool=pool, builds=builds) == []
    await builds.close()
