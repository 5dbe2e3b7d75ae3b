"""A stream that was set aside comes back by a command, once the code can take its facts."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.bookings import Bookings
from projector.events import Events
from projector.locations import Locations
from projector.model import Connection, ReadModel, UnfitFact
from projector.parked import parked_streams, retry
from projector.run import Projector
from projector.verify import verify
from schema.facts import RecordedFact
from schema.tables import PARTITIONS
from tests.command_side import an_event, book, command_side
from tests.e2e.served import PROGRAM, environment


class Unlearned:
    """What a model's code does not know yet: the facts of one stream from a version on."""

    stream: str | None = None
    since = 0

    def check(self, facts: Sequence[RecordedFact]) -> None:
        for fact in facts:
            if fact.stream_id == self.stream and fact.version >= self.since:
                raise UnfitFact(fact, "not learned yet")


class LearningEvents(Events):
    def __init__(self) -> None:
        self.unlearned = Unlearned()

    async def apply(self, connection: Connection, build: int, facts: Sequence[RecordedFact]) -> None:
        self.unlearned.check(facts)
        await super().apply(connection, build, facts)


class LearningBookings(Bookings):
    def __init__(self) -> None:
        self.unlearned = Unlearned()

    async def apply(self, connection: Connection, build: int, facts: Sequence[RecordedFact]) -> None:
        self.unlearned.check(facts)
        await super().apply(connection, build, facts)


class Side:
    """A projector whose models of events and bookings can be made to refuse."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.log = StoreLog(pool, PARTITIONS)
        self.events, self.bookings = LearningEvents(), LearningBookings()
        self.projector = Projector(log=self.log, pool=pool, models=(self.events, Locations(), self.bookings))

    def refuse(self, stream: str | None, since: int = 0) -> None:
        """Refuse the stream's facts from that version on; none where there is no stream."""
        for model in (self.events, self.bookings):
            model.unlearned.stream, model.unlearned.since = stream, since

    async def retry_all(self) -> list[str | None]:
        """Retry what is parked; why each stays so."""
        models: dict[str, ReadModel] = {"events": self.events, "bookings": self.bookings}
        return [await retry(each, models[each.model], self.log, self.pool) for each in await parked_streams(self.pool)]

    async def version(self, event: str) -> int | None:
        """The event's last fact that its row shows."""
        version: int | None = await self.pool.fetchval("select version from read.events where id = $1", event)
        return version


@asynccontextmanager
async def following(side: Side) -> AsyncIterator[None]:
    """The projector runs."""
    task = asyncio.create_task(side.projector.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[Side]:
    """On the test's database, its builds made."""
    pool = await open_pool(database_url, size=16)
    side = Side(pool)
    await side.projector.prepare()
    yield side
    await side.log.close()
    await pool.close()


async def test_a_retry_applies_all_that_the_stream_had_meanwhile(database_url: str, side: Side) -> None:
    async with command_side(database_url) as service:
        event, other = await an_event(service), await an_event(service)
        side.refuse(event, since=3)
        for _ in range(5):
            await book(service, event, 1)
            await book(service, other, 1)
            await side.projector.catch_up()
    assert [(each.model, each.stream_id) for each in await parked_streams(side.pool)] == [
        ("bookings", event),
        ("events", event),
    ]
    assert await parked_streams(side.pool, "events", other) == []
    assert await side.version(event) == 2
    side.refuse(None)
    assert await side.retry_all() == [None, None]
    assert await parked_streams(side.pool) == []
    assert await side.version(event) == 7
    assert await verify(log=side.log, pool=side.pool) == []


async def test_what_still_cannot_be_applied_stays_parked_for_its_new_reason_and_changes_nothing(
    database_url: str, side: Side
) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
        side.refuse(event, since=3)
        for _ in range(4):
            await book(service, event, 1)
    await side.projector.catch_up()
    before = await parked_streams(side.pool)
    side.refuse(event, since=5)
    reasons = await side.retry_all()
    after = await parked_streams(side.pool)
    assert [each.reason for each in after] == reasons
    assert all(old.reason != new.reason and old.seq == new.seq for old, new in zip(before, after, strict=True))
    assert await side.version(event) == 2
    assert await side.pool.fetchval("select count(*) from read.bookings") == 0


@pytest.mark.parametrize("tries", range(3))
async def test_a_retry_is_safe_while_projectors_run_and_people_book(database_url: str, side: Side, tries: int) -> None:
    second = Projector(log=side.log, pool=side.pool, models=(side.events, Locations(), side.bookings))
    async with command_side(database_url) as service, following(side):
        also = asyncio.create_task(second.run())
        event = await an_event(service, capacity=1000)
        side.refuse(event, since=3)

        async def buy() -> None:
            for _ in range(100):
                await book(service, event, 1)
                await asyncio.sleep(0.002)

        buyers = asyncio.gather(*(buy() for _ in range(3)))
        while len(await parked_streams(side.pool)) < 2:  # noqa: ASYNC110 - the projector does it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1 * tries)
        side.refuse(None)
        results = await asyncio.gather(side.retry_all(), side.retry_all())
        await buyers
        also.cancel()
        await asyncio.gather(also, return_exceptions=True)
    assert {reason for result in results for reason in result} <= {None}
    await side.projector.catch_up()
    assert await parked_streams(side.pool) == []
    assert await side.pool.fetchval("select seats_booked from read.events") == 300
    assert await verify(log=side.log, pool=side.pool) == []


async def test_a_build_of_another_version_is_left_to_its_own_code(database_url: str, side: Side) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
    side.refuse(event, since=2)
    await side.projector.catch_up()
    side.refuse(None)
    side.events.version, side.bookings.version = 2, 2
    assert all("version 1" in (reason or "") for reason in await side.retry_all())
    assert len(await parked_streams(side.pool)) == 2


async def test_on_the_command_line_what_stays_parked_is_told_and_fails(
    database_url: str, side: Side, tmp_path: Path
) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
    side.refuse(event, since=2)
    await side.projector.catch_up()
    await side.pool.execute("update read.events_1 set version = 7")

    async def parked(*arguments: str) -> subprocess.CompletedProcess[str]:
        command, told = [str(PROGRAM), "parked", *arguments], environment(database_url, tmp_path)
        return await asyncio.to_thread(
            lambda: subprocess.run(command, env=told, capture_output=True, text=True, timeout=60, check=False)
        )

    listed = (await parked("list")).stdout.splitlines()
    assert len(listed) == 2
    assert all(event in line and "not learned yet" in line for line in listed)
    failed = await parked("retry", "events")
    assert failed.returncode == 1
    assert f"events {event}: still parked" in failed.stderr
    assert "cannot follow 7" in (await parked("list", "events", event)).stdout
    await side.pool.execute("update read.events_1 set version = 1")
    done = await parked("retry")
    assert (done.returncode, done.stderr.count("applied")) == (0, 2)
    assert (await parked("list")).stdout == ""
    assert await verify(log=side.log, pool=side.pool) == []
