"""Eight processes of eight buyers each want the seats of one event, and then of the next."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.run import Projector
from projector.verify import verify
from schema.tables import PARTITIONS
from tests.command_side import an_event, command_side, seats_in_log
from tests.random_cases import seeds

PROCESSES = 8
EVENTS = 8


@pytest.mark.parametrize("seed", seeds(3))
async def test_all_seats_are_sold_and_none_twice(database_url: str, seed: int) -> None:
    async with command_side(database_url) as service:
        events = [await an_event(service, capacity=1000) for _ in range(EVENTS)]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.e2e.buyers",
            database_url,
            f"{seed}-{number}",
            *events,
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    async with asyncio.timeout(120):
        outputs = [(await process.communicate())[0] for process in processes]
    answers = [json.loads(output) for output in outputs]
    pool = await open_pool(database_url)
    log = StoreLog(pool, PARTITIONS)
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    await projector.catch_up()
    for event in events:
        bought = {booking: seats for answer in answers for booking, seats in answer[event].items()}
        assert len(bought) == sum(len(answer[event]) for answer in answers)
        assert sum(bought.values()) == 1000
        assert await seats_in_log(database_url, event) == 1000
        rows = await pool.fetch("select id, seats from read.bookings where event_id = $1", event)
        assert {row["id"]: row["seats"] for row in rows} == bought
        assert await pool.fetchval("select seats_available from read.events where id = $1", event) == 0
    assert await verify(log=log, pool=pool) == []
    await log.close()
    await pool.close()
