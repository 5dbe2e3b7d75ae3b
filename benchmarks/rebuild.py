"""How fast read models are rebuilt and verified, in facts a second, and how much memory that takes at most.

python -m benchmarks.rebuild [FACTS] [--url URL]: makes a database of its own on that server, and drops it afterwards;
without one, on a server of its own. Each step is a process of its own; its rows are checked against what was put in,
and a rebuild of 1,000,000 facts or more against what is promised of it on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import msgspec
import uvloop

from benchmarks.rebuilding import Took
from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from projector.run import read_models
from schema import codec
from schema.facts import (
    EventCreated,
    EventDetails,
    EventPublished,
    Fact,
    Line,
    Metadata,
    SeatsBooked,
    TicketType,
)
from schema.ids import new_id, partition_of
from schema.sessions import SESSION_SETTINGS
from schema.tables import PARTITIONS

_START = datetime(2027, 1, 1, tzinfo=UTC)
_EVENTS = 1000
_CHUNK = 50_000

_MANY = 1_000_000
_FACTS_A_SECOND = 30_000
_MEBIBYTES = 500
"""What is promised of a rebuild of so many facts."""


def history(count: int) -> Iterator[tuple[str, int, Fact]]:
    """A thousand events, published, then bookings of two seats in turn: (stream, version, fact)."""
    ids = [new_id("evt") for _ in range(min(_EVENTS, count // 3))]
    kinds = (TicketType(ticket_type_id="typ_1", name="Standard", capacity=10_000_000),)
    for number, key in enumerate(ids):
        created = EventCreated(
            details=EventDetails(name=f"Talk {number}", topics=("python", "sql")),
            starts_at=_START + timedelta(hours=number),
            ends_at=_START + timedelta(hours=number + 1),
            online=True,
            capacity=10_000_000,
            ticket_types=kinds,
        )
        yield key, 1, created
        yield key, 2, EventPublished()
    lines = (Line(ticket_type_id="typ_1", seats=2),)
    for number in range(count - 2 * len(ids)):
        booked = SeatsBooked(booking_id=new_id("bkg"), user_id=f"usr_{number % 997}", lines=lines)
        yield ids[number % len(ids)], 3 + number // len(ids), booked


async def put(dsn: str, facts: Iterable[tuple[str, int, Fact]]) -> None:
    """Put a history into the empty log."""
    heads = dict.fromkeys(range(PARTITIONS), 0)
    metadata = codec.encode(Metadata(command_id="cmd_benchmark")).decode()

    def row(stream: str, version: int, fact: Fact) -> tuple[object, ...]:
        partition = partition_of(stream, PARTITIONS)
        heads[partition] += 1
        data, name = codec.encode(fact).decode(), codec.type_name(fact)
        return partition, heads[partition], stream, version, name, 1, data, metadata, _START

    connection = await asyncpg.connect(dsn, server_settings=dict(SESSION_SETTINGS))
    async with connection.transaction():
        coming = iter(facts)
        while chunk := [row(*each) for each in islice(coming, _CHUNK)]:
            await connection.copy_records_to_table("facts", records=chunk)
        await connection.executemany("update heads set seq = $2 where partition = $1", list(heads.items()))
    await connection.execute("analyze facts")
    await connection.close()


async def _step(name: str, dsn: str, directory: Path) -> Took:
    """Do a step in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.rebuilding", name, dsn, str(directory), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} failed")
    took = msgspec.json.decode(told, type=Took)
    if took.problems:
        raise SystemExit(f"wrong: {took.problems[:5]}")
    return took


async def _measure(dsn: str, directory: Path, count: int) -> None:
    await put(dsn, history(count))
    bookings = count - 2 * min(_EVENTS, count // 3)
    took = await _step("follow", dsn, directory)
    print(f"catching up, all models: {_speed(count, took)}")
    broken = []
    for model in read_models():
        took = await _step(model.name, dsn, directory)
        print(f"rebuild {model.name}: {_speed(count, took)}; compared and swapped in {took.after:.1f} s")
        if count >= _MANY and (_alone(count, took) < _FACTS_A_SECOND or took.peak >= _MEBIBYTES):
            broken.append(model.name)
    took = await _step("search", dsn, directory)
    print(f"rebuild search: {_speed(count, took)}; held against the log in {took.after:.1f} s")
    took = await _step("verify", dsn, directory)
    print(f"verify: {_speed(count, took)}; the audit in SQL alone {took.after:.1f} s")
    await _check(dsn, bookings)
    if broken:
        raise SystemExit(f"slower or larger than promised: {', '.join(broken)}")


def _speed(count: int, took: Took) -> str:
    speed = f"{count:,} facts in {took.seconds:.1f} s, {count / took.seconds:,.0f} facts/s"
    used = f"{took.ours:.1f} + {took.servers:.1f} s of the processor: {_alone(count, took):,.0f} facts/s"
    return f"{speed}; {used} on two cores alone; at most {took.peak} MiB"


def _alone(count: int, took: Took) -> float:
    """Facts a second where nothing else uses the two cores: our process has one at most, the server's what is left."""
    return count / min(took.seconds, max(took.ours, (took.ours + took.servers) / 2))


async def _check(dsn: str, bookings: int) -> None:
    connection = await asyncpg.connect(dsn, server_settings=dict(SESSION_SETTINGS))
    seats = await connection.fetchval("select sum(seats_booked) from read.events")
    rows = await connection.fetchval("select count(*) from read.bookings")
    await connection.close()
    if (seats, rows) != (2 * bookings, bookings):
        raise SystemExit(f"wrong: {seats} seats in {rows} bookings, not {2 * bookings} in {bookings}")
    print(f"checked: {rows:,} bookings, {seats:,} seats")


async def _main(url: str | None, directory: Path, count: int) -> None:
    if url is not None:
        await _on(url, directory, count)
        return
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        await _on(server.dsn, directory, count)
    finally:
        await server.stop()


async def _on(url: str, directory: Path, count: int) -> None:
    async with fresh_database(url) as dsn:
        await _measure(dsn, directory / "search", count)


@asynccontextmanager
async def fresh_database(url: str) -> AsyncIterator[str]:
    """A migrated database on the server of `url`, dropped at the end."""
    name = f"benchmark_{uuid4().hex}"
    server = await asyncpg.connect(url, server_settings=dict(SESSION_SETTINGS))
    await server.execute(f"create database {name}")
    try:
        dsn = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        await migrate(dsn)
        yield dsn
    finally:
        await server.execute(f"drop database {name} with (force)")
        await server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facts", nargs="?", type=int, default=200_000)
    parser.add_argument("--url", help="a PostgreSQL on which databases may be made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        uvloop.run(_main(given.url, Path(made), max(given.facts, 3)))
