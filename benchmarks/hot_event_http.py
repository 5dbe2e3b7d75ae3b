"""64 callers book one seat each of one event over HTTP: the service beside a conditional UPDATE behind the same server.

`python -m benchmarks.hot_event_http [BOOKINGS]`. Server and callers are processes of their own on one machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import asyncpg
import httpx
import uvloop

from benchmarks.hot_event import EVENT
from benchmarks.latency import CALLERS, measure, show
from benchmarks.plain_http import connections
from benchmarks.service import service
from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from schema.sessions import SESSION_SETTINGS

USER = "MyEvents-User: usr_ann"


async def main(bookings: int, directory: Path) -> None:
    """Measure both, check both results, and print the table."""
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        await migrate(server.dsn)
        rows = [
            ("group commit over HTTP", *await _ours(server.dsn, bookings)),
            ("conditional UPDATE over HTTP", *await _baseline(server.dsn, max(200, bookings // 5))),
        ]
    finally:
        await server.stop()
    show(f"{CALLERS} callers over HTTP, one seat each of one event", rows)


async def _ours(dsn: str, bookings: int) -> tuple[float, list[float]]:
    async with service(["-m", "myevents", "serve"], dsn) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers={"MyEvents-User": "usr_ann"}) as client:
            event = (await client.post("/api/events", json=EVENT | {"capacity": bookings})).json()["id"]
            result = await _load(port, f"/api/events/{event}/bookings", bookings)
            refused = await client.post(f"/api/events/{event}/bookings", json={"seats": 1})
            assert refused.json()["code"] == "SOLD_OUT", refused.text
    connection = await asyncpg.connect(dsn, server_settings=dict(SESSION_SETTINGS))
    booked = await connection.fetchval(
        "select count(*) from facts where stream_id = $1 and type = 'SeatsBooked'", event
    )
    await connection.close()
    assert booked == bookings, f"{booked} of {bookings} bookings are in the log"
    return result


async def _baseline(dsn: str, bookings: int) -> tuple[float, list[float]]:
    connection = await asyncpg.connect(dsn, server_settings=dict(SESSION_SETTINGS))
    await connection.execute("create table bench_event (id int primary key, seats_left int not null)")
    await connection.execute("create table bench_booking (id text primary key, user_id text, seats int not null)")
    await connection.execute("insert into bench_event values (1, $1)", bookings)
    async with service(["-m", "benchmarks.conditional_update"], dsn) as port:
        result = await _load(port, "/bookings", bookings)
    left = await connection.fetchval("select seats_left from bench_event")
    count = await connection.fetchval("select count(*) from bench_booking")
    assert (left, count) == (0, bookings), f"{left} seats left, {count} bookings"
    await connection.close()
    return result


async def _load(port: int, path: str, bookings: int) -> tuple[float, list[float]]:
    async with connections(port, CALLERS) as free:

        async def book(_: int) -> None:
            connection = free.pop()
            status = await connection.post(path, b'{"seats": 1}', USER)
            assert status == 201, status
            free.append(connection)

        return await measure(bookings, book)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, Path(made)))
