"""How fast one process brings the read models up from Kafka, and how late rows are while people book.

`python -m benchmarks.following [FACTS] [--bookings BOOKINGS] [--rate RATE] [--http]`, with Kafka at
MYEVENTS_TEST_LOG_URL and PostgreSQL at MYEVENTS_TEST_DATABASE_URL: takes a database and a topic of its own, and drops
them afterwards. The lag is taken from a booking's answer to the notice of the checkpoint that has its row; relay and
projector are processes of their own. The callers are in this one, and so is what records their bookings, or with --http
a command service. All rows are checked in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.booking import Book, in_process, over_http
from benchmarks.hot_event import ANN, EVENT
from benchmarks.latency import CALLERS
from benchmarks.rebuild import fresh_database, history, put
from command.commands import EventRef
from command.inputs import EventInput, take
from command.service import CommandService
from command.writer import Writer
from myevents.log.kafka import KafkaLog
from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.run import Projector
from projector.verify import verify
from schema.read_tables import CHECKPOINTS_CHANNEL
from schema.sessions import SESSION_SETTINGS
from schema.tables import PARTITIONS
from tests.e2e.served import PROGRAM
from tests.topics import TestTopic, given_kafka, topic, url_of

_PARTS = (0.5, 0.99, 0.999, 1.0)


async def _applied(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("select coalesce(sum(seq), 0) from read.checkpoints where model <> 'search'"))


async def _catching_up(count: int, *, kafka: bool) -> float:
    """Facts a second, decoded, applied to three read models, and checked against the log."""
    async with fresh_database(os.environ["MYEVENTS_TEST_DATABASE_URL"]) as dsn, topic(given_kafka()) as made:
        await put(dsn, history(count))
        pool = await open_pool(dsn, size=16)
        store = StoreLog(pool, PARTITIONS)
        log = KafkaLog(store=store, address=made.address, group=made.address.topic) if kafka else store
        if kafka:
            await made.copy_all(store)
        projector = Projector(log=log, pool=pool)
        await projector.prepare()
        begun = time.perf_counter()
        while 3 * count > await _applied(pool):
            if not await projector.catch_up():
                await log.changed(1)
        taken = time.perf_counter() - begun
        await log.close()
        problems = await verify(log=store, pool=pool, strict=True)
        if problems:
            raise SystemExit(f"wrong: {problems[:5]}")
        await store.close()
        await pool.close()
    return count / taken


class _Lags:
    """When rows became visible, to be held against when their bookings were answered."""

    def __init__(self) -> None:
        self.answered: dict[tuple[int, int], float] = {}
        self.seen: dict[tuple[str, int], list[tuple[int, float]]] = {}

    def notice(self, *arguments: object) -> None:
        """A checkpoint moved."""
        model, partition, seq = str(arguments[3]).split(":")
        self.seen.setdefault((model, int(partition)), []).append((int(seq), time.perf_counter()))

    def of(self, model: str) -> list[float]:
        """Seconds from answer to row, in order of size."""
        found = []
        for partition in range(PARTITIONS):
            moved = iter(self.seen.get((model, partition), []))
            head, at = 0, 0.0
            for (_, seq), answered in sorted(item for item in self.answered.items() if item[0][0] == partition):
                while head < seq:
                    head, at = next(moved)
                found.append(max(0.0, at - answered))
        return sorted(found)


async def _lag(bookings: int, rate: int, events: int, *, http: bool) -> tuple[float, _Lags]:
    """Book at that rate while relay and projector run; the rate that was reached, and how late rows were."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(fresh_database(os.environ["MYEVENTS_TEST_DATABASE_URL"]))
        made = await stack.enter_async_context(topic(given_kafka()))
        pool = await open_pool(dsn)
        stack.push_async_callback(pool.close)
        lags = _Lags()
        listener = await asyncpg.connect(dsn, server_settings=dict(SESSION_SETTINGS))
        stack.push_async_callback(listener.close)
        await listener.add_listener(CHECKPOINTS_CHANNEL, lags.notice)
        for name in ("projector", "relay"):
            await stack.enter_async_context(_process(name, dsn, made))
        writer = await stack.enter_async_context(Writer(pool, PARTITIONS))
        service = CommandService(writer)
        wish = take(EventInput, EVENT | {"capacity": bookings})
        done = await asyncio.gather(*(service.create_event(ANN, wish) for _ in range(events)))
        ids = [each.answer.id for each in done if isinstance(each.answer, EventRef)]
        await _all_applied(pool)
        async with over_http(dsn) if http else in_process(service) as book:
            reached = await _booked(book, ids, bookings, rate, lags)
        await _all_applied(pool)
        await asyncio.sleep(0.5)
        store = StoreLog(pool, PARTITIONS)
        problems = await verify(log=store, pool=pool, strict=False)
        rows = await pool.fetchval("select count(*) from read.bookings")
        if problems or rows != bookings:
            raise SystemExit(f"wrong: {rows} of {bookings} bookings, {problems[:5]}")
    return reached, lags


@asynccontextmanager
async def _process(service: str, dsn: str, made: TestTopic) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as search:
        told = {
            **os.environ,
            "MYEVENTS_DATABASE_URL": dsn,
            "MYEVENTS_LOG_URL": url_of(made.address),
            "MYEVENTS_SEARCH_URL": f"embedded:{search}",
            "MYEVENTS_METRICS_PORT": "0",
        }
        process = await asyncio.create_subprocess_exec(PROGRAM, service, env=told, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


async def _all_applied(pool: asyncpg.Pool) -> None:
    lagging = "select 1 from read.checkpoints c join heads h using (partition) where c.seq < h.seq limit 1"
    async with asyncio.timeout(120):
        while await pool.fetchval(lagging) or await pool.fetchval("select count(*) < 64 from read.checkpoints"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _booked(book: Book, ids: Sequence[str], bookings: int, rate: int, lags: _Lags) -> float:
    numbers, begun = iter(range(bookings)), time.perf_counter()

    async def caller() -> None:
        for number in numbers:
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            partition, seq = (await book(ids[number % len(ids)])).split(":")
            lags.answered[int(partition), int(seq)] = time.perf_counter()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return bookings / (time.perf_counter() - begun)


def _shown(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    table = Table(title=title)
    table.add_column()
    for column in columns:
        table.add_column(column, justify="right")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    Console().print(table)


async def _main(facts: int, bookings: int, rate: int, *, http: bool) -> None:
    speeds = {
        name: (f"{await _catching_up(facts, kafka=kafka):,.0f}",)
        for name, kafka in (("from Kafka", True), ("from the store", False))
    }
    _shown(f"{facts:,} facts into three read models, one process", ["facts a second"], speeds)
    rows = {}
    for name, events in (("1,000 events", 1000), ("one event", 1)):
        reached, lags = await _lag(bookings, rate, events, http=http)
        taken = lags.of("bookings")
        at = [f"{taken[min(len(taken) - 1, int(len(taken) * part))] * 1000:.0f}" for part in _PARTS]
        rows[name] = (f"{reached:,.0f}", *at)
    columns = ["bookings a second", "p50 ms", "p99 ms", "p99.9 ms", "most ms"]
    way = "over HTTP" if http else "in process"
    _shown(
        f"From a booking's answer to its row, through relay, Kafka and projector; {rate:,}/s wanted {way}",
        columns,
        rows,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facts", nargs="?", type=int, default=100_000)
    parser.add_argument("--bookings", type=int, default=40_000)
    parser.add_argument("--rate", type=int, default=4000)
    parser.add_argument("--http", action="store_true")
    given = parser.parse_args()
    sys.exit(uvloop.run(_main(given.facts, given.bookings, given.rate, http=given.http)))
