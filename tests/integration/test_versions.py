"""Projectors of two versions run beside each other while an upgrade rolls on."""

from __future__ import annotations

import asyncpg

from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.events import Events
from projector.rebuild import rebuild
from projector.run import Projector
from schema.tables import PARTITIONS
from tests.command_side import an_event, book, command_side


class NewEvents(Events):
    """The model of tomorrow's code."""

    version = 2


async def applied(pool: asyncpg.Pool) -> dict[int, int]:
    """How many facts each build has."""
    rows = await pool.fetch("select build, sum(seq) from read.checkpoints where model = 'events' group by build")
    return {row[0]: int(row[1]) for row in rows}


async def test_each_projector_keeps_up_the_builds_of_its_own_version_alone(database_url: str) -> None:
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    old, new = (Projector(log=log, pool=pool, models=[model]) for model in (Events(), NewEvents()))
    async with command_side(database_url) as service:
        event = await an_event(service)
        await old.prepare()
        await new.prepare()
        assert await new.catch_up() == 0
        assert await applied(pool) == {1: 0}
        assert await old.catch_up() == 2
        assert await pool.fetchval("select version from read.builds where state = 'live'") == 1

        await rebuild(NewEvents(), log, pool, lambda _done, _total: None)
        await old.prepare()
        assert await pool.fetchval("select version from read.builds where state = 'live'") == 2
        await book(service, event, 1)
        assert await old.catch_up() == 1
        assert await applied(pool) == {1: 3, 2: 2}
        assert await new.catch_up() == 1
        assert await applied(pool) == {1: 3, 2: 3}
    assert await pool.fetchval("select seats_booked from read.events") == 1
    await log.close()
    await pool.close()


async def test_the_first_of_two_versions_to_start_makes_the_build_that_serves(database_url: str) -> None:
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    for model in (NewEvents(), Events()):
        await Projector(log=log, pool=pool, models=[model]).prepare()
    rows = await pool.fetch("select build, version, state from read.builds where model = 'events'")
    assert [tuple(row) for row in rows] == [(1, 2, "live")]
    await log.close()
    await pool.close()
