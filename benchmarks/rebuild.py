"""How fast read models are rebuilt and verified, in facts a second; checks the rows against what was put in.

python -m benchmarks.rebuild [FACTS] [--url URL]: makes a database of its own on that server, and drops it afterwards;
without one, on a server of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import uvloop

from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from projector.audit import Audited, audit
from projector.fold import FOLDS
from projector.model import ReadModel
from projector.rebuild import rebuild
from projector.run import Projector, read_models
from projector.search import SearchProjector
from projector.search_rebuild import rebuild_search
from projector.search_verify import verify_search
from projector.verify import verify
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
from schema.tables import PARTITIONS

_START = datetime(2027, 1, 1, tzinfo=UTC)
_EVENTS = 1000
_CHUNK = 50_000


def history(count: int) -> list[tuple[str, int, Fact]]:
    """A thousand events, published, then bookings of two seats in turn: (stream, version, fact)."""
    ids = [new_id("evt") for _ in range(min(_EVENTS, count // 3))]
    kinds = (TicketType(ticket_type_id="typ_1", name="Standard", capacity=1_000_000),)
    facts: list[tuple[str, int, Fact]] = []
    for number, key in enumerate(ids):
        created = EventCreated(
            details=EventDetails(name=f"Talk {number}", topics=("python", "sql")),
            starts_at=_START + timedelta(hours=number),
            ends_at=_START + timedelta(hours=number + 1),
            online=True,
            capacity=1_000_000,
            ticket_types=kinds,
        )
        facts += [(key, 1, created), (key, 2, EventPublished())]
    lines = (Line(ticket_type_id="typ_1", seats=2),)
    for number in range(count - len(facts)):
        booked = SeatsBooked(booking_id=new_id("bkg"), user_id=f"usr_{number % 997}", lines=lines)
        facts.append((ids[number % len(ids)], 3 + number // len(ids), booked))
    return facts


async def put(dsn: str, facts: list[tuple[str, int, Fact]]) -> None:
    heads = dict.fromkeys(range(PARTITIONS), 0)
    metadata = codec.encode(Metadata(command_id="cmd_benchmark")).decode()
    rows = []
    for stream, version, fact in facts:
        partition = partition_of(stream, PARTITIONS)
        heads[partition] += 1
        data = codec.encode(fact).decode()
        name = codec.type_name(fact)
        rows.append((partition, heads[partition], stream, version, name, 1, data, metadata, _START))
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        for start in range(0, len(rows), _CHUNK):
            await connection.copy_records_to_table("facts", records=rows[start : start + _CHUNK])
        await connection.executemany("update heads set seq = $2 where partition = $1", list(heads.items()))
    await connection.execute("analyze facts")
    await connection.close()


async def _measure(dsn: str, count: int) -> None:
    facts = history(count)
    await put(dsn, facts)
    bookings = sum(isinstance(fact, SeatsBooked) for _, _, fact in facts)
    pool = await open_pool(dsn, size=16)
    log = StoreLog(pool, PARTITIONS)
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    started = time.perf_counter()
    await projector.catch_up()
    taken = time.perf_counter() - started
    print(f"catching up, all models: {count} facts in {taken:.1f} s, {count / taken:,.0f} facts/s")
    for model in read_models():
        await _one(model, log, pool, count)
    await _search(log, pool, count)
    await _verified(log, pool, count)
    seats = await pool.fetchval("select sum(seats_booked) from read.events")
    rows = await pool.fetchval("select count(*) from read.bookings")
    if (seats, rows) != (2 * bookings, bookings):
        raise SystemExit(f"wrong: {seats} seats in {rows} bookings, not {2 * bookings} in {bookings}")
    print(f"checked: {rows} bookings, {seats} seats")
    await log.close()
    await pool.close()


async def _one(model: ReadModel, log: StoreLog, pool: asyncpg.Pool, count: int) -> None:
    marks: list[float] = []
    started = time.perf_counter()
    await rebuild(model, log, pool, lambda _done, _total: marks.append(time.perf_counter()))
    ended = time.perf_counter()
    replayed, compared = marks[-1] - marks[0], ended - marks[-1]
    print(
        f"rebuild {model.name}: {count} facts replayed in {replayed:.1f} s, {count / replayed:,.0f} facts/s;"
        f" compared and swapped in {compared:.2f} s; {ended - started:.1f} s in all"
    )


async def _search(log: StoreLog, pool: asyncpg.Pool, count: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        builds = EmbeddedBuilds(Path(made))
        searcher = SearchProjector(log=log, pool=pool, builds=builds)
        await searcher.prepare()
        await searcher.catch_up()
        started = time.perf_counter()
        await rebuild_search(log, pool, builds, lambda _done, _total: None)
        ended = time.perf_counter()
        print(f"rebuild search: {count} facts in {ended - started:.1f} s, {count / (ended - started):,.0f} facts/s")
        problems = await verify_search(log=log, pool=pool, builds=builds)
        if problems:
            raise SystemExit(f"wrong: {problems[:5]}")
        await builds.close()


async def _verified(log: StoreLog, pool: asyncpg.Pool, count: int) -> None:
    started = time.perf_counter()
    problems = await verify(log=log, pool=pool)
    taken = time.perf_counter() - started
    async with pool.acquire() as facts, facts.transaction(), pool.acquire() as rows, rows.transaction():
        started = time.perf_counter()
        builds = await rows.fetch("select model, build from read.builds where state = 'live'")
        heads = await log.heads()
        await audit(facts, rows, [Audited(model, build, heads, {}) for model, build in builds if model in FOLDS])
        audited = time.perf_counter() - started
    print(
        f"verify: {count} facts in {taken:.1f} s, {count / taken:,.0f} facts/s; of it the audit in SQL {audited:.1f} s"
    )
    if problems:
        raise SystemExit(f"wrong: {problems[:5]}")


async def _main(url: str | None, directory: Path, count: int) -> None:
    if url is not None:
        await _on(url, count)
        return
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        await _on(server.dsn, count)
    finally:
        await server.stop()


async def _on(url: str, count: int) -> None:
    async with fresh_database(url) as dsn:
        await _measure(dsn, count)


@asynccontextmanager
async def fresh_database(url: str) -> AsyncIterator[str]:
    """A migrated database on the server of `url`, dropped at the end."""
    name = f"benchmark_{uuid4().hex}"
    server = await asyncpg.connect(url)
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
