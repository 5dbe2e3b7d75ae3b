"""Nothing acknowledged is lost, and nothing is there twice, when processes are killed under load."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import pytest

from myevents.embedded import EmbeddedPostgres
from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.run import Projector
from projector.verify import verify
from schema.tables import PARTITIONS
from tests.e2e.served import Served, served
from tests.e2e.test_serving import EVENT

KILLS = 20
BUYERS = 8


class Buyers:
    """Callers who book one seat at a time and insist: the same key again until there is an answer."""

    def __init__(self, service: Served) -> None:
        self._service = service
        self.acknowledged: dict[str, str] = {}
        self.stopping = False

    async def event(self) -> str:
        """An event with seats for all."""
        async with httpx.AsyncClient(base_url=self._service.url, headers={"MyEvents-User": "usr_ann"}) as client:
            made = await client.post("/api/events", json=EVENT | {"capacity": 1_000_000})
            event: str = made.json()["id"]
            return event

    async def buy(self, name: str, event: str) -> None:
        """Book until told to stop; note each booking that was acknowledged."""
        number = 0
        async with httpx.AsyncClient(base_url=self._service.url, timeout=15) as client:
            while not self.stopping:
                key = f"{name}-{number}"
                headers = {"MyEvents-User": f"usr_{name}", "Idempotency-Key": key}
                try:
                    answer = await client.post(f"/api/events/{event}/bookings", json={"seats": 1}, headers=headers)
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 503:
                    await asyncio.sleep(0.05)
                    continue
                assert answer.status_code == 201, f"{key}: {answer.text}"
                self.acknowledged[key] = answer.json()["id"]
                number += 1


async def under_load(service: Served, kill: Callable[[], None], restart: bool) -> tuple[str, dict[str, str]]:
    """Let buyers book while something is killed again and again; the event, and what they were promised."""
    buyers = Buyers(service)
    event = await buyers.event()
    tasks = [asyncio.create_task(buyers.buy(f"b{number}", event)) for number in range(BUYERS)]
    for _ in range(KILLS):
        await asyncio.sleep(0.2)
        kill()
        # Answers may still be on their way to each buyer; more than that come from a service that is back.
        before = len(buyers.acknowledged) + BUYERS
        if restart:
            await service.start()
        deadline = time.monotonic() + 30
        while len(buyers.acknowledged) < before + 20:
            assert time.monotonic() < deadline, "the service did not come back by itself"
            await asyncio.sleep(0.05)
    buyers.stopping = True
    await asyncio.gather(*tasks)
    return event, buyers.acknowledged


async def bookings_in(dsn: str, event: str) -> list[str]:
    """The bookings of an event, by the log."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "select data ->> 'bookingId' from facts where stream_id = $1 and type = 'SeatsBooked'", event
    )
    await connection.close()
    return [row[0] for row in rows]


async def problems_of(dsn: str) -> list[str]:
    """What `verify` finds once the read models have caught up."""
    pool = await open_pool(dsn)
    log = StoreLog(pool, PARTITIONS)
    await Projector(log=log, pool=pool).catch_up()
    problems = await verify(log=log, pool=pool)
    await pool.close()
    return problems


async def test_a_killed_service_loses_and_doubles_no_booking(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        event, acknowledged = await under_load(service, service.kill, restart=True)
    recorded = await bookings_in(database_url, event)
    assert len(recorded) == len(set(recorded)) == len(set(acknowledged.values())) == len(acknowledged) > 50
    assert set(recorded) == set(acknowledged.values())
    assert await problems_of(database_url) == []


async def test_a_killed_database_loses_and_doubles_no_booking_and_comes_back_by_itself(directory: Path) -> None:
    home = directory / "postgres"

    def kill() -> None:
        os.kill(int((home / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    with served(f"embedded:{home}", directory) as service:
        await service.start()
        event, acknowledged = await under_load(service, kill, restart=False)
        server = EmbeddedPostgres(home)
        recorded = await bookings_in(server.dsn, event)
        assert len(recorded) == len(set(recorded)) == len(set(acknowledged.values())) > 50
        assert set(recorded) == set(acknowledged.values())
        assert await problems_of(server.dsn) == []
    assert not (home / "data" / "postmaster.pid").exists(), "the last to leave stops the server"


async def test_what_a_killed_service_leaves_behind_does_not_block_the_next_start(directory: Path) -> None:
    with served(f"embedded:{directory / 'postgres'}", directory) as service:
        await service.start()
        service.kill()
        await service.start()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{service.url}/api/events")).status_code == 200
    assert not (directory / "postgres" / "data" / "postmaster.pid").exists()


async def test_the_database_runs_until_the_last_of_two_has_left_even_at_a_long_path(directory: Path) -> None:
    home = directory / ("long" * 30) / "postgres"
    one, other = EmbeddedPostgres(home), EmbeddedPostgres(home)
    await asyncio.gather(one.start(), other.start())
    await one.stop()
    connection = await asyncpg.connect(other.dsn)
    assert await connection.fetchval("show fsync") == "on"
    assert await connection.fetchval("show listen_addresses") == ""
    await connection.close()
    await other.stop()
    with pytest.raises(OSError, match=r"connect|No such file|refused"):
        await asyncpg.connect(other.dsn)
