"""Queries that take long cost those who book nothing, and end with those who asked."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import asyncpg
import httpx

from tests.e2e.served import Served, served
from tests.e2e.test_serving import ANN, EVENT
from tests.query_side import waits_until

SLOW = "read.events_1 where pg_sleep(10) is not null"


async def make_reading_slow(url: str) -> None:
    """Let each row of the events that is read take ten seconds."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"create or replace view read.events as select * from {SLOW}")
    await connection.close()


async def reading_sessions(url: str) -> int:
    """How many sessions read events now."""
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'"
        " and query like '%read.events%' and pid <> pg_backend_pid()"
    )
    await connection.close()
    return count


async def event_of(service: Served) -> str:
    """A new event that can be booked."""
    async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
        created = await client.post("/api/events", json=EVENT)
        position = {"MyEvents-Position": created.headers["MyEvents-Position"]}
        event: str = created.json()["id"]
        assert (await client.get(f"/api/events/{event}", headers=position)).status_code == 200
        return event


async def test_bookings_go_on_while_queries_use_all_of_their_connections(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        event = await event_of(service)
        await make_reading_slow(database_url)
        async with httpx.AsyncClient(base_url=service.url, headers=ANN, timeout=20) as client:
            asking = [asyncio.create_task(client.get(f"/api/events?first={n}")) for n in range(1, 41)]
            await waits_until(lambda: reading_sessions(database_url), 11)
            booked = await client.post(f"/api/events/{event}/bookings", json={"seats": 1})
            assert booked.status_code == 201
            assert [task for task in asking if task.done()] == [], "it waited for none of them"
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


async def test_what_was_asked_by_one_who_hung_up_is_stopped_on_the_server(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        await event_of(service)
        await make_reading_slow(database_url)
        for method, path, body in (
            ("POST", "/graphql", {"query": "{ events { nodes { id } } }"}),
            ("GET", "/api/events", None),
        ):
            async with httpx.AsyncClient(base_url=service.url) as client:
                with contextlib.suppress(httpx.ReadTimeout):
                    await client.request(method, path, json=body, timeout=0.4)
            await waits_until(lambda: reading_sessions(database_url), 0, within=1)
