"""The services as processes of their own, on one embedded database."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.served import PROGRAM, Served, environment, served
from tests.e2e.test_serving import ANN, EVENT


class Services:
    """Command, projector and query service."""

    def __init__(self, directory: Path, exits: ExitStack) -> None:
        self.home = directory / "postgres"
        url = f"embedded:{self.home}"
        self.command = exits.enter_context(served(url, directory, "command"))
        self.projector = exits.enter_context(served(url, directory, "projector"))
        self.query = exits.enter_context(served(url, directory, "query"))
        self.all = (self.command, self.projector, self.query)

    async def start(self) -> None:
        """All three at once, as a supervisor would."""
        await asyncio.gather(*(service.start() for service in self.all))

    async def create(self, **changes: Any) -> tuple[str, str]:
        """A new event: its id, and the position."""
        return await self._posted("/api/events", EVENT | changes)

    async def book(self, event: str, seats: int) -> str:
        """Book; the position."""
        return (await self._posted(f"/api/events/{event}/bookings", {"seats": seats}))[1]

    async def ask(self, query: str, position: str | None = None) -> dict[str, Any]:
        """The whole answer of the query service, `position` waited for."""
        headers = ANN | ({"MyEvents-Position": position} if position else {})
        async with httpx.AsyncClient(base_url=self.query.url, headers=headers, timeout=15) as client:
            answer: dict[str, Any] = (await client.post("/graphql", json={"query": query})).json()
            return answer

    async def _posted(self, path: str, body: dict[str, Any]) -> tuple[str, str]:
        async with httpx.AsyncClient(base_url=self.command.url, headers=ANN, timeout=15) as client:
            answer = await client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            return answer.json()["id"], answer.headers["MyEvents-Position"]


@pytest.fixture
def services(directory: Path) -> Iterator[Services]:
    """Not started yet."""
    with ExitStack() as exits:
        yield Services(directory, exits)


async def seats(services: Services, event: str, position: str) -> tuple[int, bool]:
    """The seats booked as the query service tells them, and whether it calls that stale."""
    answer = await services.ask(f'{{ event(id: "{event}") {{ seatsBooked }} }}', position)
    return answer["data"]["event"]["seatsBooked"], "extensions" in answer and answer["extensions"].get("stale", False)


async def test_a_killed_projector_catches_up_and_the_last_service_stops_the_database(services: Services) -> None:
    await services.start()
    event, _ = await services.create()
    position = await services.book(event, 2)
    assert await seats(services, event, position) == (2, False)
    services.projector.kill()
    position = await services.book(event, 3)
    assert await seats(services, event, position) == (2, True)
    await services.projector.start()
    assert await seats(services, event, position) == (5, False)
    found = await services.ask('{ searchEvents(search: "talk") { nodes { event { seatsBooked } } } }', position)
    assert found["data"]["searchEvents"]["nodes"] == [{"event": {"seatsBooked": 5}}]
    codes = [service.stop(how) for service, how in zip(services.all, (signal.SIGTERM, signal.SIGINT) * 2, strict=False)]
    assert codes == [0, 0, 0]
    assert not (services.home / "data" / "postmaster.pid").exists()


async def lags(services: Services) -> dict[str, float]:
    """Each read model's lag in seconds."""
    answer = await services.ask("{ readModels { name applied head lagSeconds } }")
    assert all(model["applied"] <= model["head"] for model in answer["data"]["readModels"])
    return {model["name"]: model["lagSeconds"] for model in answer["data"]["readModels"]}


async def come_to_have_none(services: Services) -> None:
    """Wait until no read model lags."""
    async with asyncio.timeout(20):
        while any((await lags(services)).values()):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.1)


async def test_an_idle_projector_shows_no_lag_and_a_killed_one_a_growing_lag(services: Services) -> None:
    await services.start()
    await services.create()
    await come_to_have_none(services)
    await asyncio.sleep(4)
    assert await lags(services) == dict.fromkeys(("bookings", "events", "locations", "search"), 0)
    services.projector.kill()
    await asyncio.sleep(4)
    before = await lags(services)
    await asyncio.sleep(1)
    after = await lags(services)
    assert all(lag > 3 and after[name] >= lag + 1 for name, lag in before.items())
    await services.projector.start()
    await come_to_have_none(services)


async def test_each_service_answers_for_its_own_part_alone(services: Services) -> None:
    await services.start()
    async with httpx.AsyncClient(headers=ANN) as client:

        async def status(service: Served, method: str, path: str) -> int:
            return (await client.request(method, service.url + path)).status_code

        async def described(service: Served) -> dict[str, set[str]]:
            paths = (await client.get(f"{service.url}/api/openapi.json")).json()["paths"]
            return {path: set(operations) for path, operations in paths.items()}

        for service in (services.command, services.query):
            assert await status(service, "GET", "/healthz") == 200
        assert await status(services.command, "POST", "/command") == 415
        assert await status(services.query, "POST", "/command") == 404
        assert await status(services.command, "GET", "/graphql?query={__typename}") == 404
        assert await status(services.query, "GET", "/graphql?query={__typename}") == 200
        assert await status(services.command, "GET", "/api/events") == 405
        assert await status(services.query, "POST", "/api/events") == 405
        assert (await described(services.command))["/api/events"] == {"post"}
        assert (await described(services.query))["/api/events"] == {"get"}


async def test_a_cursor_outlives_the_query_service_that_made_it(services: Services) -> None:
    await services.start()
    for number in range(3):
        _, position = await services.create(name=f"Talk {number}")
    page = "{ nodes { name } pageInfo { endCursor } }"
    first = await services.ask(f"{{ events(first: 2, orderBy: {{field: NAME}}) {page} }}", position)
    cursor = first["data"]["events"]["pageInfo"]["endCursor"]
    services.query.stop()
    await services.query.start()
    rest = await services.ask(f'{{ events(first: 2, after: "{cursor}", orderBy: {{field: NAME}}) {page} }}', position)
    assert [node["name"] for node in rest["data"]["events"]["nodes"]] == ["Talk 2"]


def test_a_service_that_cannot_listen_says_so_before_it_starts_anything(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = environment(f"embedded:{tmp_path / 'postgres'}", tmp_path) | {"MYEVENTS_PORT": port}
        for service in ("serve", "command", "query"):
            done = subprocess.run([PROGRAM, service], env=told, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 2
            assert "MYEVENTS_PORT" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_service_stopped_while_its_database_starts_leaves_none_running(how: signal.Signals) -> None:
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        directory.chmod(0o711)
        told = environment(f"embedded:{directory / 'postgres'}", directory)
        running = directory / "postgres" / "data" / "postmaster.pid"
        with subprocess.Popen([PROGRAM, "projector"], env=told, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not running.exists():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            process.send_signal(how)
            process.wait(60)
        assert not running.exists()
