"""Projectors that follow Kafka share its partitions, and whatever is lost meanwhile, the rows are the log's."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from command.service import CommandService
from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from projector.search_verify import verify_search
from projector.verify import verify
from schema.tables import PARTITIONS
from tests.command_side import an_event, book, command_side
from tests.e2e.served import Served, served, until
from tests.e2e.test_serving import ANN, EVENT
from tests.platform.servers import Servers
from tests.topics import create, given_kafka, topic, url_of, writing


class Following:
    """A store that is written, a topic that it is copied to, and processes that follow it."""

    def __init__(self, database_url: str, pool: asyncpg.Pool, address: KafkaAddress, service: CommandService) -> None:
        self.database_url = database_url
        self.pool = pool
        self.log = StoreLog(pool, PARTITIONS)
        self.address = address
        self._service = service
        self._events: list[str] = []

    async def events(self, count: int) -> None:
        """Make events, in all partitions sooner or later."""
        self._events += [await an_event(self._service, capacity=100_000) for _ in range(count)]

    async def book(self) -> None:
        """Book one seat after the other until cancelled."""
        while True:
            await book(self._service, random.choice(self._events), 1)
            await asyncio.sleep(0.002)

    async def caught_up(self) -> bool:
        """Whether every build has all that is in the log."""
        lag = await self.pool.fetchval(
            "select count(*) from read.checkpoints c join heads h using (partition) where c.seq < h.seq"
        )
        return bool(lag == 0)

    async def breaches(self, directory: Path) -> list[str]:
        """What is wrong with the read models and the index, nobody writing them any more."""
        builds = EmbeddedBuilds(directory / "search")
        try:
            found = await verify_search(log=self.log, pool=self.pool, builds=builds)
        finally:
            await builds.close()
        return found + await verify(log=self.log, pool=self.pool, strict=True)


class Projecting(Served):
    """A projector, and what it says of its share."""

    def __init__(self, following: Following, directory: Path, name: str) -> None:
        self._said = directory / f"{name}.log"
        settings = {"MYEVENTS_LOG_URL": url_of(following.address)}
        super().__init__(following.database_url, self._said, "projector", settings)

    def share(self) -> int:
        """How many partitions it last said to follow for the read models."""
        lines = [json.loads(line) for line in self._said.read_text().splitlines() if "partitions_followed" in line]
        shares = [len(line["partitions"]) for line in lines if line["group"]]
        return shares[-1] if shares else 0


@asynccontextmanager
async def followable(database_url: str, address: KafkaAddress) -> AsyncIterator[Following]:
    """A store with some events, and a topic."""
    pool = await open_pool(database_url)
    async with command_side(database_url) as service:
        following = Following(database_url, pool, address, service)
        await following.events(40)
        yield following
    await following.log.close()
    await pool.close()


@asynccontextmanager
async def meanwhile(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do all that."""
    tasks = {asyncio.create_task(work) for work in works}
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)


@pytest.fixture
async def following(database_url: str, stack: AsyncExitStack) -> Following:
    """On the test's database and a topic of its own, which a task fills from the store."""
    made = await stack.enter_async_context(topic(given_kafka()))
    following = await stack.enter_async_context(followable(database_url, made.address))
    await stack.enter_async_context(meanwhile(made.relay(following.log, {})))
    return following


@pytest.fixture
def projectors(following: Following, tmp_path: Path, stack: AsyncExitStack) -> tuple[Projecting, Projecting]:
    """Two projectors, to be started."""
    one, other = (Projecting(following, tmp_path, name) for name in ("one", "other"))
    stack.callback(one.stop)
    stack.callback(other.stop)
    return one, other


async def shares(*expected: tuple[Projecting, int]) -> None:
    """Wait until the projectors have so many partitions each."""

    async def shared() -> bool:
        return all(projector.share() == share for projector, share in expected)

    await until(shared, 60)


async def test_two_projectors_share_the_partitions_and_one_takes_over_what_a_killed_one_had(
    following: Following, projectors: tuple[Projecting, Projecting], tmp_path: Path
) -> None:
    one, other = projectors
    async with meanwhile(following.book()):
        await one.start()
        await shares((one, 16))
        await other.start()
        await shares((one, 8), (other, 8))
        await asyncio.sleep(1)
        one.kill()
        await shares((other, 16))
        await asyncio.sleep(1)
        await one.start()
        await shares((one, 8), (other, 8))
    await until(following.caught_up)
    assert one.stop() == other.stop() == 0
    assert await following.breaches(tmp_path) == []


async def test_a_projector_that_slept_and_lost_its_partitions_changes_nothing_when_it_wakes(
    following: Following, projectors: tuple[Projecting, Projecting], tmp_path: Path
) -> None:
    one, other = projectors
    async with meanwhile(following.book()):
        await asyncio.gather(one.start(), other.start())
        await shares((one, 8), (other, 8))
        for _ in range(2):
            one.pause()
            await shares((other, 16))
            await asyncio.sleep(5)
            one.resume()
            await shares((one, 8), (other, 8))
    await until(following.caught_up)
    assert one.stop() == other.stop() == 0
    assert await following.breaches(tmp_path) == []


@asynccontextmanager
async def own_kafka(directory: Path) -> AsyncIterator[tuple[Servers, KafkaAddress]]:
    """A Kafka that nobody else uses, to be stopped, with a topic."""
    kafka = Servers(directory, "kafka")
    try:
        await asyncio.to_thread(kafka.start)
        address = kafka_address(f"{kafka.url('kafka')}?topic=facts&replication=1")
        assert address is not None
        await create(address)
        yield kafka, address
    finally:
        await asyncio.to_thread(kafka.stop)


async def test_a_projector_waits_for_kafka_and_catches_up_by_itself(
    database_url: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    kafka, address = await stack.enter_async_context(own_kafka(tmp_path / "servers"))
    sent: dict[int, int] = {}
    following = await stack.enter_async_context(followable(database_url, address))
    projector = Projecting(following, tmp_path, "projector")
    stack.callback(projector.stop)
    await asyncio.to_thread(kafka.stop)
    # It starts without Kafka, and waits for it.
    await projector.start()
    await asyncio.sleep(3)
    for _ in range(2):
        await asyncio.to_thread(kafka.start)
        async with writing(address) as topic:
            async with meanwhile(following.book(), topic.relay(following.log, sent)):
                await shares((projector, 16))
                await asyncio.sleep(2)
            async with meanwhile(topic.relay(following.log, sent)):
                await until(following.caught_up, 60)
        await asyncio.to_thread(kafka.stop)
        async with meanwhile(following.book()):
            await asyncio.sleep(3)
        assert not await following.caught_up()
    await asyncio.to_thread(kafka.start)
    async with writing(address) as topic, meanwhile(topic.relay(following.log, sent)):
        await until(following.caught_up, 60)
    assert projector.stop() == 0
    assert await following.breaches(tmp_path) == []


async def test_one_process_with_kafka_shows_at_a_position_what_was_booked(
    database_url: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    made = await stack.enter_async_context(topic(given_kafka()))
    settings = {"MYEVENTS_LOG_URL": url_of(made.address)}
    with served(database_url, tmp_path, settings=settings) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN, timeout=15) as client:
            created = await client.post("/api/events", json=EVENT | {"capacity": 50})
            event = created.json()["id"]
            for seats in range(1, 6):
                booked = await client.post(f"/api/events/{event}/bookings", json={"seats": seats})
                position = {"MyEvents-Position": booked.json()["position"]}
                shown = await client.get(f"/api/events/{event}", headers=position)
                assert shown.json()["seatsBooked"] == seats * (seats + 1) // 2
            query = '{ searchEvents(search: "talk", first: 1) { nodes { event { id } } } }'
            found = await client.post("/graphql", json={"query": query}, headers=position)
            assert found.json()["data"]["searchEvents"]["nodes"] == [{"event": {"id": event}}]
        assert service.stop() == 0


async def test_a_projector_goes_on_when_kafka_has_lost_everything_and_is_filled_again(
    database_url: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    kafka, address = await stack.enter_async_context(own_kafka(tmp_path / "servers"))
    following = await stack.enter_async_context(followable(database_url, address))
    projector = Projecting(following, tmp_path, "projector")
    stack.callback(projector.stop)
    await projector.start()
    async with writing(address) as topic, meanwhile(following.book(), topic.relay(following.log, {})):
        await shares((projector, 16))
        await asyncio.sleep(2)
    await asyncio.to_thread(kafka.stop)
    kafka.forget("kafka")
    await asyncio.to_thread(kafka.start)
    await create(address)
    async with writing(address) as topic, meanwhile(topic.relay(following.log, {})):
        async with meanwhile(following.book()):
            await asyncio.sleep(3)
        await until(following.caught_up, 60)
    assert projector.stop() == 0
    assert await following.breaches(tmp_path) == []
