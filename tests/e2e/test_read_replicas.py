"""Queries read replicas: they wait for what a replica has, and go to the primary where one does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from tests.e2e.apart import Apart
from tests.private_postgres import PrivatePostgres, private_postgres, replica_of, told

PAUSE, RESUME = "select pg_wal_replay_pause()", "select pg_wal_replay_resume()"


class Servers:
    """The read models' own server, and replicas of it."""

    def __init__(self, primary: PrivatePostgres, replicas: list[PrivatePostgres]) -> None:
        self.primary = primary
        self.replicas = replicas

    def services(self, store: str, directory: Path, exits: ExitStack) -> Apart:
        """Services that read from the replicas."""
        urls = ",".join(replica.dsn for replica in self.replicas)
        return Apart(store, self.primary.dsn, directory, exits, replicas=urls)


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    """Stops the processes that a test started."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def servers(directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    """A primary, and as many replicas as the test says, or one."""
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(private_postgres(directory / "primary"))
        count = getattr(request, "param", 1)
        replicas = [
            await stack.enter_async_context(replica_of(primary, directory / f"replica{number}"))
            for number in range(count)
        ]
        yield Servers(primary, replicas)


async def test_a_position_is_waited_for_on_the_replica_that_is_read(
    database_url: str, servers: Servers, directory: Path, exits: ExitStack
) -> None:
    parts = servers.services(database_url, directory, exits)
    await parts.start()
    (replica,) = servers.replicas
    assert await told(replica, "select pg_is_in_recovery()")
    event = await parts.create()
    for seats in range(1, 21):
        assert await parts.seats(event, await parts.book(event)) == (seats, False, None)
    await told(replica, PAUSE)
    position = await parts.book(event)
    assert await parts.seats(event, position) == (20, True, None)
    assert await told(servers.primary, "select seats_booked from read.events") == 21
    later = asyncio.create_task(parts.seats(event, position))
    await asyncio.sleep(0.5)
    await told(replica, RESUME)
    assert await later == (21, False, None)


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_a_replica_that_does_not_answer_is_left_for_the_primary_until_it_does(
    database_url: str, servers: Servers, directory: Path, exits: ExitStack, how: str
) -> None:
    parts = servers.services(database_url, directory, exits)
    await parts.start()
    (replica,) = servers.replicas
    event = await parts.create()
    await parts.come_to(event, await parts.book(event), 1)
    replica.kill() if how == "killed" else replica.pause()
    for seats in range(2, 6):
        assert await parts.seats(event, await parts.book(event)) == (seats, False, None)
        assert await parts.status(parts.query, "/api/events") == 200
    assert await parts.status(parts.query, "/readyz") == 200
    await replica.begin() if how == "killed" else replica.resume()
    # Read from again: what is booked while it stands still is not seen.
    async with asyncio.timeout(30):
        await told(replica, PAUSE)
        position = await parts.book(event)
        while not (await parts.seats(event, position))[1]:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.1)
    await told(replica, RESUME)
    assert await parts.seats(event, position) == (6, False, None)


async def test_replicas_serve_while_the_primary_is_away_even_those_who_start_then(
    database_url: str, servers: Servers, directory: Path, exits: ExitStack
) -> None:
    parts = servers.services(database_url, directory, exits)
    await parts.start()
    event = await parts.create()
    position = await parts.book(event)
    await parts.come_to(event, position, 1)
    servers.primary.kill()
    assert await parts.seats(event, position) == (1, False, None)
    position = await parts.book(event)
    assert await parts.seats(event, position) == (1, True, None)
    parts.query.stop()
    await parts.query.start()
    assert await parts.status(parts.query, "/api/events") == 200
    await servers.primary.begin()
    await parts.come_to(event, position, 2)


@pytest.mark.parametrize("servers", [2], indirect=True)
async def test_a_request_waits_and_reads_on_one_replica_though_another_one_is_behind(
    database_url: str, servers: Servers, directory: Path, exits: ExitStack
) -> None:
    parts = servers.services(database_url, directory, exits)
    await parts.start()
    event = await parts.create()
    await parts.come_to(event, await parts.book(event), 1)
    await told(servers.replicas[1], PAUSE)
    position = await parts.book(event)
    answers = await asyncio.gather(*(parts.seats(event, position) for _ in range(12)))
    # Half of the requests are the other replica's: what they show is what they say that they show.
    assert set(answers) == {(2, False, None), (1, True, None)}
    await told(servers.replicas[1], RESUME)
