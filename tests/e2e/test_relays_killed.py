"""Relays and Kafka are killed, stopped and woken while people book: every fact reaches Kafka all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.log.topic import ensure_topic
from schema.tables import PARTITIONS
from tests.command_side import an_event, book, command_side
from tests.e2e.served import PROGRAM, Served, served, until
from tests.kafka_topics import NEEDS_KAFKA, carried, own_topic, url_of, without_repeats
from tests.platform.servers import Servers

pytestmark = NEEDS_KAFKA

KILLS = 10


@pytest.fixture
async def topic() -> AsyncIterator[KafkaAddress]:
    async with own_topic() as address:
        yield address


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Servers]:
    """A Kafka of the test's own that runs, to be killed."""
    own = Servers(tmp_path / "servers", "kafka")
    own.start()
    try:
        yield own
    finally:
        own.stop()


@asynccontextmanager
async def bookings(database_url: str) -> AsyncIterator[None]:
    """People book meanwhile, of several events."""
    stopping = asyncio.Event()
    async with command_side(database_url) as service:

        async def buy(event: str) -> None:
            while not stopping.is_set():
                await book(service, event, 1)
                await asyncio.sleep(0.005)

        buyers = [asyncio.create_task(buy(await an_event(service, capacity=1_000_000))) for _ in range(8)]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*buyers)


def told(address: KafkaAddress) -> Mapping[str, str]:
    """The settings of a relay."""
    return {"MYEVENTS_LOG_URL": url_of(address)}


async def cursors(database_url: str) -> dict[int, tuple[str | None, int, int]]:
    """Who leads each partition, how far it is sent, and how far the log goes."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "select partition, holder, l.seq, h.seq from relay_leases l join heads h using (partition)"
    )
    await connection.close()
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def all_sent(database_url: str, within: float = 60) -> dict[int, int]:
    """Wait until the cursors are at the heads; the heads."""

    async def sent() -> bool:
        return all(seq == head for _, seq, head in (await cursors(database_url)).values())

    await until(sent, within)
    return {number: head for number, (_, _, head) in (await cursors(database_url)).items()}


async def sent_more(database_url: str, within: float = 60) -> None:
    """Wait until facts are sent that were not yet."""
    before = sum(seq for _, seq, _ in (await cursors(database_url)).values())

    async def more() -> bool:
        return sum(seq for _, seq, _ in (await cursors(database_url)).values()) > before + 20

    await until(more, within)


async def holders(database_url: str) -> list[str | None]:
    """Who leads, by partition."""
    return [holder for _, (holder, _, _) in sorted((await cursors(database_url)).items())]


async def check_copy(database_url: str, address: KafkaAddress) -> None:
    """Every fact is there for a reader that drops what it has, and the auditor agrees."""
    heads = await all_sent(database_url)
    assert sum(heads.values()) > 100
    for number, facts in (await carried(address)).items():
        assert without_repeats(facts) == list(range(1, heads[number] + 1))
    settings = {**os.environ, "MYEVENTS_DATABASE_URL": database_url, **told(address)}
    words: list[str | os.PathLike[str]] = [PROGRAM, "verify", "--log"]
    done = await asyncio.to_thread(
        subprocess.run, words, env=settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_a_relay_killed_again_and_again_loses_nothing(
    database_url: str, tmp_path: Path, topic: KafkaAddress
) -> None:
    with served(database_url, tmp_path, "relay", told(topic)) as relay:
        async with bookings(database_url):
            for _ in range(KILLS):
                await relay.start()
                await sent_more(database_url)
                relay.kill()
            await relay.start()
        await check_copy(database_url, topic)
        assert relay.stop(signal.SIGTERM) == 0
    assert set(await holders(database_url)) == {None}, "who leaves gives its leases up"


def two_relays(stack: ExitStack, database_url: str, directory: Path, address: KafkaAddress) -> list[Served]:
    """Two relays that are stopped at the end."""
    homes = [directory / name for name in ("one", "other")]
    for home in homes:
        home.mkdir()
    return [stack.enter_context(served(database_url, home, "relay", told(address))) for home in homes]


async def test_another_relay_takes_over_from_a_killed_one(
    database_url: str, tmp_path: Path, topic: KafkaAddress
) -> None:
    with ExitStack() as stack:
        one, other = two_relays(stack, database_url, tmp_path, topic)
        async with bookings(database_url):
            await one.start()
            await until(lambda: _led_by(database_url, 1))
            [killed] = set(await holders(database_url))
            await other.start()
            await until(lambda: _led_by(database_url, 2))
            one.kill()
            # It takes 4 s at most; a machine that is busy takes longer.
            await until(lambda: _led_by(database_url, 1), within=10)
            assert set(await holders(database_url)) != {killed}
            await sent_more(database_url)
        await check_copy(database_url, topic)


async def _led_by(database_url: str, relays: int) -> bool:
    leading = await holders(database_url)
    counts = {holder: leading.count(holder) for holder in leading}
    return None not in counts and set(counts.values()) == {PARTITIONS // relays}


async def test_a_relay_that_slept_while_another_led_changes_nothing(
    database_url: str, tmp_path: Path, topic: KafkaAddress
) -> None:
    with ExitStack() as stack:
        sleeper, other = two_relays(stack, database_url, tmp_path, topic)
        stack.callback(sleeper.resume)
        async with bookings(database_url):
            await sleeper.start()
            await until(lambda: _led_by(database_url, 1))
            [slept] = set(await holders(database_url))
            sleeper.pause()
            await other.start()
            await until(lambda: _led_by(database_url, 1), within=20)
            await until(lambda: _not_led_by(database_url, str(slept)), within=20)
            await sent_more(database_url)
            before = await cursors(database_url)
            sleeper.resume()
            await until(lambda: _led_by(database_url, 2))
            after = await cursors(database_url)
            assert all(after[number][1] >= before[number][1] for number in before)
        await check_copy(database_url, topic)


async def _not_led_by(database_url: str, relay: str) -> bool:
    return relay not in await holders(database_url)


async def test_a_killed_kafka_loses_nothing_and_is_filled_again_when_its_data_are_lost(
    database_url: str, tmp_path: Path, kafka: Servers
) -> None:
    address = kafka_address(kafka.url("kafka"))
    assert address is not None
    with served(database_url, tmp_path, "relay", told(address)) as relay:
        async with bookings(database_url):
            await relay.start()
            await sent_more(database_url)
            for _ in range(2):
                kafka.kill("kafka")
                await asyncio.sleep(1)
                await asyncio.to_thread(kafka.start)
                await sent_more(database_url)
        await check_copy(database_url, address)
        topic = await ensure_topic(address, PARTITIONS)
        async with bookings(database_url):
            await asyncio.to_thread(kafka.stop)
            kafka.forget("kafka")
            await asyncio.to_thread(kafka.start)
            await until(lambda: _another_topic(database_url, topic), within=60)
        await check_copy(database_url, address)


async def test_a_relay_goes_on_by_itself_when_the_store_was_killed(directory: Path, topic: KafkaAddress) -> None:
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        await migrate(server.dsn)
        with served(server.dsn, directory, "relay", told(topic)) as relay:
            await relay.start()
            for _ in range(3):
                async with bookings(server.dsn):
                    await sent_more(server.dsn)
                os.kill(
                    int((directory / "postgres" / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL
                )
                await asyncio.sleep(1)
                await server.ensure_running()
            async with bookings(server.dsn):
                await sent_more(server.dsn)
            await check_copy(server.dsn, topic)
    finally:
        await server.stop()


async def _another_topic(database_url: str, topic: str) -> bool:
    connection = await asyncpg.connect(database_url)
    still: int = await connection.fetchval("select count(*) from relay_leases where topic_id = $1", topic)
    await connection.close()
    return still == 0
