"""The lag of the read models is measured against the log, by somebody who shows whether he is alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from myevents import model_status
from myevents.log.store import StoreLog
from myevents.model_status import ModelStatus
from myevents.store import open_pool
from projector.events import Events
from projector.heartbeat import Heartbeat
from projector.rebuild import drop_old, rebuild
from projector.run import Projector
from query.cursors import Cursors
from query.reads import Reads
from query.sources import Sources
from schema.tables import PARTITIONS
from tests.command_side import an_event, book, command_side


class Side:
    """A projector and its heartbeat, each step taken by hand, and who reads what they tell."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.log = StoreLog(pool, PARTITIONS)
        self.projector = Projector(log=self.log, pool=pool)
        self.heartbeat = Heartbeat(log=self.log, pool=pool)
        self._reads = Reads(Sources(pool), Cursors(b"secret"))

    async def events(self) -> ModelStatus:
        """How far the build of events is that serves."""
        (status,) = [each for each in await self._reads.statuses() if (each.name, each.state) == ("events", "live")]
        return status


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[Side]:
    """On the test's database, its builds made."""
    pool = await open_pool(database_url, size=16)
    side = Side(pool)
    await side.projector.prepare()
    yield side
    await side.log.close()
    await pool.close()


async def test_who_misses_a_fact_is_as_late_as_the_last_moment_it_had_all(database_url: str, side: Side) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
        await side.projector.catch_up()
        await side.heartbeat.beat()
        status = await side.events()
        assert (status.applied, status.head, status.lag_seconds) == (2, 2, 0)
        await book(service, event, 1)
    await asyncio.sleep(0.2)
    await side.heartbeat.beat()
    status = await side.events()
    assert (status.applied, status.head) == (2, 3)
    assert 0.2 <= status.lag_seconds < 10
    await side.projector.catch_up()
    await side.heartbeat.beat()
    status = await side.events()
    assert (status.applied, status.head, status.lag_seconds) == (3, 3, 0)


async def test_who_always_follows_a_beat_behind_is_as_late_as_a_beat(database_url: str, side: Side) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
        for _ in range(10):
            await side.projector.catch_up()
            await book(service, event, 1)
            await side.heartbeat.beat()
            await asyncio.sleep(0.2)
    assert 0.2 <= (await side.events()).lag_seconds < 1.5


async def test_without_a_projector_the_lag_grows_though_nothing_happens(
    database_url: str, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with command_side(database_url) as service:
        await an_event(service)
    await side.projector.catch_up()
    await side.heartbeat.beat()
    monkeypatch.setattr(model_status, "FRESH", 0.2)
    await asyncio.sleep(0.3)
    first = (await side.events()).lag_seconds
    await asyncio.sleep(0.3)
    assert first >= 0.3
    assert (await side.events()).lag_seconds >= first + 0.3


async def test_a_new_heartbeat_does_not_forget_how_late_a_model_is(database_url: str, side: Side) -> None:
    async with command_side(database_url) as service:
        event = await an_event(service)
        await side.projector.catch_up()
        await asyncio.sleep(2)
        await side.heartbeat.beat()
        await book(service, event, 1)
    await asyncio.sleep(0.3)
    await Heartbeat(log=side.log, pool=side.pool).beat()
    assert 0.3 <= (await side.events()).lag_seconds < 2


async def test_a_build_that_is_dropped_takes_its_heartbeat_along(database_url: str, side: Side) -> None:
    async with command_side(database_url) as service:
        await an_event(service)
    await side.heartbeat.beat()
    await rebuild(Events(), side.log, side.pool, lambda _done, _total: None)
    await side.heartbeat.beat()
    assert await drop_old(Events(), side.pool) == [1]
    builds = await side.pool.fetch("select build from read.heartbeats where model = 'events'")
    assert [row[0] for row in builds] == [2]
    await side.heartbeat.beat()
    assert (await side.events()).lag_seconds == 0
