"""64 callers book one seat each of one event: group commit beside the usual ways, on the same PostgreSQL.

`python -m benchmarks.hot_event [BOOKINGS]`; with MYEVENTS_DATABASE_URL on that server, otherwise on one of its own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import asyncpg
import uvloop

from benchmarks.latency import CALLERS, measure, show
from command.commands import EventRef
from command.inputs import BookingInput, EventInput, take
from command.service import Caller, CommandService
from command.writer import Writer
from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from myevents.settings import Settings
from myevents.store import open_pool
from schema.ids import new_id
from schema.sessions import SESSION_SETTINGS
from schema.tables import PARTITIONS

ANN = Caller(user_id="usr_ann")
EVENT = {"name": "Hot", "startsAt": "2030-01-01T20:00:00Z", "endsAt": "2030-01-01T23:00:00Z", "online": True}


async def main(bookings: int, directory: Path) -> None:
    """Measure all ways, check each one's result, and print the table."""
    url = Settings.from_environment().database_url
    server = EmbeddedPostgres(directory / "postgres") if url.startswith("embedded:") else None
    if server:
        await server.start()
    dsn = server.dsn if server else url
    try:
        await migrate(dsn)
        usual = max(200, bookings // 10)
        rows = [
            ("group commit, one event", *await _grouped(dsn, bookings, events=1)),
            ("group commit, 1,000 events", *await _grouped(dsn, bookings, events=1000)),
            ("optimistic retry", *await _optimistic(dsn, max(200, bookings // 50))),
            ("conditional UPDATE", *await _conditional(dsn, usual)),
        ]
    finally:
        if server:
            await server.stop()
    show(f"{CALLERS} callers in process, one seat each", rows)


async def _grouped(dsn: str, bookings: int, events: int) -> tuple[float, list[float]]:
    pool = await open_pool(dsn)
    async with Writer(pool, PARTITIONS) as writer:
        service = CommandService(writer)
        wish = take(EventInput, EVENT | {"capacity": bookings})
        made = await asyncio.gather(*(service.create_event(ANN, wish) for _ in range(events)))
        ids = [done.answer.id for done in made if isinstance(done.answer, EventRef)]
        one = BookingInput(seats=1)
        result = await measure(bookings, lambda number: service.book_seats(ANN, ids[number % events], one))
    booked = await pool.fetchval("select count(*) from facts where stream_id = any($1) and type = 'SeatsBooked'", ids)
    assert booked == bookings, f"{booked} of {bookings} bookings are in the log"
    await pool.close()
    return result


async def _tables(dsn: str, seats: int) -> asyncpg.Pool:
    pool = await asyncpg.create_pool(dsn, min_size=CALLERS, max_size=CALLERS, server_settings=dict(SESSION_SETTINGS))
    await pool.execute("drop table if exists bench_booking, bench_event")
    await pool.execute("create table bench_event (id int primary key, seats_left int not null, version int not null)")
    await pool.execute("create table bench_booking (id text primary key, event_id int not null, seats int not null)")
    await pool.execute("insert into bench_event values (1, $1, 0)", seats)
    return pool


async def _conditional(dsn: str, bookings: int) -> tuple[float, list[float]]:
    """What most do: take the seats where there are any, and insert the booking, in one transaction."""
    pool = await _tables(dsn, bookings)

    async def book(_: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            taken = await connection.execute("update bench_event set seats_left = seats_left - 1 where seats_left > 0")
            assert taken == "UPDATE 1"
            await connection.execute("insert into bench_booking values ($1, 1, 1)", new_id("bkg"))

    result = await measure(bookings, book)
    await _checked(pool, bookings)
    return result


async def _optimistic(dsn: str, bookings: int) -> tuple[float, list[float]]:
    """Read the version, write where it is still that one, otherwise try again."""
    pool = await _tables(dsn, bookings)

    async def book(_: int) -> None:
        while True:
            async with pool.acquire() as connection:
                row = await connection.fetchrow("select version, seats_left from bench_event where id = 1")
                assert row is not None
                version, left = row
                async with connection.transaction():
                    done = await connection.execute(
                        "update bench_event set seats_left = $2, version = version + 1 where id = 1 and version = $1",
                        version,
                        left - 1,
                    )
                    if done == "UPDATE 1":
                        await connection.execute("insert into bench_booking values ($1, 1, 1)", new_id("bkg"))
                        return

    result = await measure(bookings, book)
    await _checked(pool, bookings)
    return result


async def _checked(pool: asyncpg.Pool, bookings: int) -> None:
    left = await pool.fetchval("select seats_left from bench_event")
    count = await pool.fetchval("select count(*) from bench_booking")
    assert (left, count) == (0, bookings), f"{left} seats left, {count} bookings"
    await pool.execute("drop table bench_booking, bench_event")
    await pool.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000, Path(made)))
