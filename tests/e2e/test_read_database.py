"""The read models in a database of their own: booking needs the store alone, and what was away comes back by itself."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.conftest import in_database
from tests.e2e.apart import Apart
from tests.e2e.served import PROGRAM, environment
from tests.private_postgres import PrivatePostgres, private_postgres, told


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    """Stops the processes that a test started."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def reads(directory: Path) -> AsyncIterator[PrivatePostgres]:
    """A server for the read models, that may be killed."""
    async with private_postgres(directory / "reads") as server:
        yield server


@pytest.fixture
async def reads_url(postgres_url: str) -> AsyncIterator[str]:
    """An empty database for the read models, on the server of the store."""
    name = f"reads_{uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"create database {name}")
    yield in_database(postgres_url, name)
    await server.execute(f"drop database {name} with (force)")
    await server.close()


def run(store: str, reads: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the command line, to its end."""
    told = environment(store, directory) | {"MYEVENTS_READ_DATABASE_URL": reads}
    return subprocess.run([PROGRAM, *arguments], env=told, capture_output=True, text=True, timeout=120, check=False)


async def count(url: str, table: str) -> int:
    """How many rows a table has."""
    connection = await asyncpg.connect(url)
    try:
        rows: int = await connection.fetchval(f"select count(*) from {table}")
        return rows
    finally:
        await connection.close()


@pytest.mark.parametrize("one", [True, False], ids=["one process", "services"])
async def test_facts_and_read_models_live_in_two_databases_and_verify_holds_them_against_each_other(
    database_url: str, reads_url: str, directory: Path, exits: ExitStack, one: bool
) -> None:
    parts = Apart(database_url, reads_url, directory, exits, one=one)
    await parts.start()
    event = await parts.create()
    for seats in (1, 2, 3):
        position = await parts.book(event)
        assert await parts.seats(event, position) == (seats, False, None)
    found = await parts.ask('{ searchEvents(search: "talk") { nodes { event { seatsBooked } } } }', position)
    assert found["data"]["searchEvents"]["nodes"] == [{"event": {"seatsBooked": 3}}]
    assert (await count(database_url, "facts"), await count(reads_url, "facts")) == (5, 0)
    assert (await count(database_url, "read.builds"), await count(reads_url, "read.bookings")) == (0, 3)
    for process in parts.all:
        process.stop()
    for model in ("events", "bookings"):
        done = run(database_url, reads_url, directory, "rebuild", model)
        assert (done.returncode, "serves" in done.stderr) == (0, True), done.stderr
    verified = run(database_url, reads_url, directory, "verify")
    assert verified.returncode == 0, verified.stderr
    owner = await asyncpg.connect(reads_url)
    await owner.execute("update read.events_2 set seats_booked = 5")
    await owner.execute("delete from read.bookings_2 where seats = 1")
    await owner.close()
    verified = run(database_url, reads_url, directory, "verify")
    assert verified.returncode == 1
    told = " ".join(verified.stderr.split())
    assert f"events {event} is wrong in seats_booked, says the audit." in told
    assert told.count("bookings lacks bkg_") == 6


async def test_a_database_that_was_enough_for_both_may_be_parted(
    database_url: str, reads_url: str, directory: Path, exits: ExitStack
) -> None:
    whole = Apart(database_url, database_url, directory, exits, one=True)
    await whole.start()
    event = await whole.create()
    position = await whole.book(event)
    whole.command.stop()
    parted = Apart(database_url, reads_url, directory, exits, one=True)
    await parted.start()
    await parted.come_to(event, position, 1)
    position = await parted.book(event)
    await parted.come_to(event, position, 2)


async def books_on(parts: Apart, event: str, times: int) -> str:
    """Book so many seats; the last position."""
    for _ in range(times):
        position = await parts.book(event)
    return position


@pytest.mark.parametrize("how", ["killed", "paused"])
@pytest.mark.parametrize("one", [True, False], ids=["one process", "services"])
async def test_while_the_read_database_is_away_booking_goes_on_and_queries_say_so(
    database_url: str, reads: PrivatePostgres, directory: Path, exits: ExitStack, one: bool, how: str
) -> None:
    parts = Apart(database_url, reads.dsn, directory, exits, one=one)
    await parts.start()
    event = await parts.create()
    position = await parts.book(event)
    await parts.come_to(event, position, 1)
    reads.kill() if how == "killed" else reads.pause()
    position = await books_on(parts, event, 20)
    # An answer that was kept is given for a second yet.
    await parts.come_to_be_refused(event)
    assert await parts.seats(event, position) == (None, True, "OVERLOADED")
    assert await parts.status(parts.query, "/api/events") == 503
    assert await parts.status(parts.command, "/readyz") == 200
    if not one:
        assert await parts.status(parts.query, "/readyz") == 503
    assert await parts.status(parts.query, "/healthz") == 200
    position = await books_on(parts, event, 20)
    await reads.begin() if how == "killed" else reads.resume()
    await parts.come_to(event, position, 41)
    assert await parts.status(parts.query, "/readyz") == 200
    verified = run(database_url, reads.dsn, directory, "verify")
    assert verified.returncode == 0, verified.stderr


@pytest.mark.parametrize("one", [True, False], ids=["one process", "services"])
async def test_whatever_starts_while_the_read_database_is_away_waits_for_it(
    database_url: str, reads: PrivatePostgres, directory: Path, exits: ExitStack, one: bool
) -> None:
    await reads.end()
    parts = Apart(database_url, reads.dsn, directory, exits, one=one)
    starting = asyncio.create_task(parts.start())
    async with asyncio.timeout(30):
        while await parts_ready(parts) != 200:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.1)
    event = await parts.create()
    position = await books_on(parts, event, 5)
    await reads.begin()
    await starting
    await parts.come_to(event, position, 5)


async def parts_ready(parts: Apart) -> int:
    """Whether commands are taken; 0 where nothing answers yet."""
    try:
        return await parts.status(parts.command, "/readyz")
    except httpx.TransportError:
        return 0


async def test_a_read_database_that_was_lost_is_filled_again_from_the_log(
    database_url: str, reads: PrivatePostgres, directory: Path, exits: ExitStack
) -> None:
    parts = Apart(database_url, reads.dsn, directory, exits)
    await parts.start()
    event = await parts.create()
    position = await books_on(parts, event, 3)
    await parts.come_to(event, position, 3)
    await reads.lose()
    position = await books_on(parts, event, 3)
    await reads.begin()
    await parts.come_to(event, position, 6)
    assert await told(reads, "select count(*) from read.bookings") == 6
