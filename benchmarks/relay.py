"""How fast the log gets into Kafka: a backlog, and facts that are recorded meanwhile, from commit to Kafka.

`python -m benchmarks.relay [FACTS]`; it needs MYEVENTS_LOG_URL=kafka://..., where it takes a topic of its own. The
store is the one of MYEVENTS_DATABASE_URL, an empty database, or one of its own; the relay is another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import uvloop
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.latency import CALLERS
from command.commands import EventRef
from command.inputs import BookingInput, EventInput, take
from command.relay.check import check
from command.service import Caller, CommandService
from command.writer import Writer
from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.log.kafka_clients import made
from myevents.log.store import StoreLog
from myevents.log.topic import ensure_topic
from myevents.settings import Settings
from myevents.store import open_pool
from schema.envelope import unseal
from schema.tables import PARTITIONS

ANN: Final = Caller(user_id="usr_ann")
EVENT: Final = {"name": "Hot", "startsAt": "2030-01-01T20:00:00Z", "endsAt": "2030-01-01T23:00:00Z", "online": True}
SECONDS: Final = 10
"""How long each pace of bookings is kept up."""

PACES: Final = (500, 2_000, 0)
"""Bookings a second; 0: as many as 64 callers get."""

Row = tuple[str, int, float, list[float]]


async def main(facts: int, directory: Path) -> None:
    """Measure, check that Kafka has all of it, and print the table."""
    settings = Settings.from_environment()
    given = kafka_address(settings.log_url)
    if given is None:
        raise SystemExit("MYEVENTS_LOG_URL names no Kafka")
    address = replace(given, topic=f"bench-{uuid4().hex}")
    async with _database(settings, directory) as dsn:
        pool = await open_pool(dsn)
        try:
            async with Writer(pool, PARTITIONS) as writer:
                rows = await _measured(CommandService(writer), pool, dsn, address, facts)
            found = await check(log=StoreLog(pool, PARTITIONS), pool=pool, address=address)
        finally:
            await pool.close()
            await asyncio.to_thread(_remove, address)
    breaches = [sentence for each in found for sentence in each.breaches]
    assert not breaches, breaches
    _show(rows, sum(each.expected for each in found))


@contextlib.asynccontextmanager
async def _database(settings: Settings, directory: Path) -> AsyncIterator[str]:
    if not settings.database_url.startswith("embedded:"):
        await migrate(settings.database_url)
        yield settings.database_url
        return
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        await migrate(server.dsn)
        yield server.dsn
    finally:
        await server.stop()


async def _measured(
    service: CommandService, pool: asyncpg.Pool, dsn: str, address: KafkaAddress, facts: int
) -> list[Row]:
    await ensure_topic(address, PARTITIONS)
    wish = take(EventInput, EVENT | {"capacity": 1_000_000})
    made_events = await asyncio.gather(*(service.create_event(ANN, wish) for _ in range(64)))
    events = [done.answer.id for done in made_events if isinstance(done.answer, EventRef)]
    await asyncio.gather(*(_booked(service, events[number], facts // 64) for number in range(64)))
    rows: list[Row] = []
    with _relay(dsn, address):
        rows.append(await _backlog(pool))
        with _arrivals(address) as arrived:
            for pace in PACES:
                rows.append(await _paced(service, events, pace, arrived))
    return rows


async def _booked(service: CommandService, event: str, seats: int) -> None:
    for _ in range(seats):
        await service.book_seats(ANN, event, BookingInput(seats=1))


async def _backlog(pool: asyncpg.Pool) -> Row:
    """From the first cursor that is moved to the last: starting is not counted."""
    begun, before = 0.0, 0
    while True:
        sent = await pool.fetchval("select sum(seq)::bigint from relay_leases")
        head = await pool.fetchval("select sum(seq)::bigint from heads")
        if not begun and sent:
            begun, before = time.perf_counter(), sent
        if sent == head:
            return "a backlog", int(sent), (sent - before) / (time.perf_counter() - begun), []
        await asyncio.sleep(0.01)


async def _paced(service: CommandService, events: list[str], pace: int, arrived: dict[tuple[int, int], float]) -> Row:
    committed: dict[tuple[int, int], float] = {}
    begun = time.perf_counter()

    async def caller(number: int) -> None:
        due = begun + (number / pace if pace else 0)
        while due < begun + SECONDS:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            done = await service.book_seats(ANN, events[number], BookingInput(seats=1))
            partition, _, seq = done.position.partition(":")
            committed[int(partition), int(seq)] = time.perf_counter()
            due = due + CALLERS / pace if pace else time.perf_counter()

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    speed = len(committed) / (time.perf_counter() - begun)
    async with asyncio.timeout(120):
        while True:
            if committed.keys() <= arrived.keys():
                break
            await asyncio.sleep(0.1)
    # A caller may hear of it after Kafka's reader has.
    taken = sorted(max(0.0, arrived[place] - at) for place, at in committed.items())
    return f"{pace:,} a second" if pace else f"{CALLERS} callers", len(committed), speed, taken


@contextlib.contextmanager
def _relay(dsn: str, address: KafkaAddress) -> Iterator[None]:
    url = f"kafka://{','.join(address.servers)}?topic={address.topic}"
    told = {**os.environ, "MYEVENTS_DATABASE_URL": dsn, "MYEVENTS_LOG_URL": url, "MYEVENTS_METRICS_PORT": "0"}
    process = subprocess.Popen([Path(sys.executable).with_name("myevents"), "relay"], env=told)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def _arrivals(address: KafkaAddress) -> Iterator[dict[tuple[int, int], float]]:
    """When each fact came, by partition and seq: read in a process of its own, so that it is not this one that lags."""
    arrived: dict[tuple[int, int], float] = {}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.relay", "--follow", *address.servers, address.topic],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    out = process.stdout
    assert out.readline().strip() == "follows"

    def take_down() -> None:
        for line in out:
            partition, seq, at = line.split()
            arrived[int(partition), int(seq)] = float(at)

    reader = threading.Thread(target=take_down)
    reader.start()
    try:
        yield arrived
    finally:
        process.terminate()
        process.wait(20)
        reader.join()
        out.close()


def _follow(servers: list[str], topic: str) -> None:
    """Print each fact's place and when it came, on the clock that all processes share."""
    consumer = made(
        KafkaConsumer, KafkaAddress(servers=tuple(servers), topic=topic), group_id=None, fetch_max_wait_ms=10
    )
    consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
    consumer.seek_to_end()
    for number in range(PARTITIONS):
        consumer.position(TopicPartition(topic, number))
    print("follows", flush=True)
    while True:
        for records in consumer.poll(timeout_ms=100, max_records=5_000).values():
            now = time.perf_counter()
            for record in records:
                fact = unseal(record.value)
                print(fact.partition, fact.seq, now)
        sys.stdout.flush()


def _remove(address: KafkaAddress) -> None:
    admin = made(KafkaAdminClient, address)
    admin.delete_topics([address.topic], raise_errors=False)
    admin.close()


def _show(rows: list[Row], facts: int) -> None:
    table = Table(title=f"From the store into Kafka; all {facts:,} facts are there, each as it was recorded")
    for column in ("", "facts", "a second", "p50 ms", "p99 ms", "p99.9 ms"):
        table.add_column(column, justify="left" if not column else "right")
    for name, count, speed, taken in rows:
        at = [
            f"{taken[min(len(taken) - 1, int(len(taken) * part))] * 1000:.1f}" for part in (0.5, 0.99, 0.999) if taken
        ]
        table.add_row(name, f"{count:,}", f"{speed:,.0f}", *at)
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--follow"]:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(sys.argv[2:-1], sys.argv[-1])
    else:
        with tempfile.TemporaryDirectory() as made_directory:
            Path(made_directory).chmod(0o711)
            uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60_000, Path(made_directory)))
