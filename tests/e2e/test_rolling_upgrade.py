"""Old and new processes run beside each other while a fact changes its version, in whatever order they come."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.e2e.served import PROGRAM, Served, environment
from tests.e2e.test_serving import ANN, EVENT
from tests.newer_code import newer_code

MODELS = ("bookings", "events", "locations", "search")


class Fleet:
    """Processes of both versions on one database."""

    def __init__(self, store: str, directory: Path, exits: ExitStack) -> None:
        self._store = store
        self._directory = directory
        self._exits = exits
        self._new = newer_code(directory / "newer")

    async def start(self, service: str, *, new: bool = False) -> Served:
        """One more process."""
        name = f"{'new' if new else 'old'}-{service}"
        process = Served(self._store, self._directory / f"{name}.log", service, self._new if new else {})
        self._exits.callback(process.stop)
        await process.start()
        return process

    def run(self, *arguments: str, new: bool = False) -> subprocess.CompletedProcess[str]:
        """A command of the command line, to its end."""
        told = environment(self._store, self._directory) | (self._new if new else {})
        return subprocess.run([PROGRAM, *arguments], env=told, capture_output=True, text=True, timeout=120, check=False)

    def parked(self, *, new: bool = False) -> list[dict[str, Any]]:
        """What `parked list` prints."""
        done = self.run("parked", "list", new=new)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def versions(self, event: str) -> list[int]:
        """The versions in which the bookings of an event were written down."""
        connection = await asyncpg.connect(self._store)
        rows = await connection.fetch(
            "select schema_version from facts where stream_id = $1 and type = 'SeatsBooked' order by version", event
        )
        await connection.close()
        return [row[0] for row in rows]


@pytest.fixture
def fleet(database_url: str, directory: Path) -> Iterator[Fleet]:
    """No process yet."""
    with ExitStack() as exits:
        yield Fleet(database_url, directory, exits)


async def posted(at: Served, path: str, body: dict[str, Any]) -> tuple[str, str]:
    """What was made, and the position."""
    async with httpx.AsyncClient(base_url=at.url, headers=ANN, timeout=15) as client:
        answer = await client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"], answer.headers["MyEvents-Position"]


async def book(at: Served, event: str) -> str:
    """Book a seat; the position."""
    return (await posted(at, f"/api/events/{event}/bookings", {"seats": 1}))[1]


async def seats(at: Served, event: str, position: str) -> tuple[int, int, bool]:
    """The seats of the event, those of Ann's bookings of it, and whether that is stale."""
    query = f'{{ event(id: "{event}") {{ seatsBooked }} bookings(eventId: "{event}") {{ nodes {{ seats }} }} }}'
    async with httpx.AsyncClient(base_url=at.url, headers=ANN | {"MyEvents-Position": position}, timeout=15) as client:
        answer = (await client.post("/graphql", json={"query": query})).json()
    data = answer["data"]
    mine = sum(booking["seats"] for booking in data["bookings"]["nodes"])
    return data["event"]["seatsBooked"], mine, answer.get("extensions", {}).get("stale", False)


async def test_new_projectors_first_then_new_commands_and_nobody_notices(fleet: Fleet) -> None:
    old_command, old_projector, query = [await fleet.start(each) for each in ("command", "projector", "query")]
    event, _ = await posted(old_command, "/api/events", EVENT)
    assert await seats(query, event, await book(old_command, event)) == (1, 1, False)
    await fleet.start("projector", new=True)
    old_projector.stop()
    # An old command process and a new projector.
    assert await seats(query, event, await book(old_command, event)) == (2, 2, False)
    new_query = await fleet.start("query", new=True)
    new_command = await fleet.start("command", new=True)
    for booked in (3, 4, 5):
        position = await book(new_command, event)
        assert await seats(query, event, position) == (booked, booked, False)
        assert await seats(new_query, event, position) == (booked, booked, False)
    other, _ = await posted(old_command, "/api/events", EVENT | {"name": "Another talk"})
    assert await seats(query, other, await book(old_command, other)) == (1, 1, False)
    assert await fleet.versions(event) == [1, 1, 2, 2, 2]
    assert await fleet.versions(other) == [1]
    assert fleet.parked(new=True) == []
    verified = fleet.run("verify", new=True)
    assert verified.returncode == 0, verified.stderr


async def test_an_old_command_process_sends_callers_of_what_it_cannot_read_away_and_serves_the_others(
    fleet: Fleet,
) -> None:
    old = await fleet.start("command")
    new = await fleet.start("command", new=True)
    event, _ = await posted(old, "/api/events", EVENT)
    other, _ = await posted(old, "/api/events", EVENT)
    await book(new, event)
    async with httpx.AsyncClient(base_url=old.url, headers=ANN, timeout=15) as client:

        async def tried(which: str) -> tuple[int, str | None]:
            answer = await client.post(f"/api/events/{which}/bookings", json={"seats": 1})
            return answer.status_code, answer.json().get("code")

        answers = await asyncio.gather(*(tried(which) for which in (event, other) * 4))
    assert set(answers[::2]) == {(503, "OVERLOADED")}
    assert set(answers[1::2]) == {(201, None)}
    await book(new, event)
    assert await fleet.versions(event) == [2, 2]
    assert await fleet.versions(other) == [1] * 4


async def test_an_old_projector_parks_what_new_commands_write_and_new_code_brings_it_back(fleet: Fleet) -> None:
    old_command, old_projector, query = [await fleet.start(each) for each in ("command", "projector", "query")]
    event, _ = await posted(old_command, "/api/events", EVENT)
    other, _ = await posted(old_command, "/api/events", EVENT | {"name": "Another talk"})
    assert await seats(query, event, await book(old_command, event)) == (1, 1, False)
    # A new command process and an old projector: the wrong way round.
    new_command = await fleet.start("command", new=True)
    position = await book(new_command, event)
    assert await seats(query, event, position) == (1, 1, False)
    assert await seats(query, other, await book(old_command, other)) == (1, 1, False)
    async with asyncio.timeout(30):
        while {each["model"] for each in fleet.parked()} != set(MODELS):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.1)
    parked = fleet.parked()
    assert {each["streamId"] for each in parked} == {event}
    assert all("version 2 is newer than this code" in each["reason"] for each in parked)
    retried = fleet.run("parked", "retry")
    assert retried.returncode == 1
    assert "still parked" in retried.stderr
    # The new projector takes over, and what was set aside comes back.
    old_projector.stop()
    await fleet.start("projector", new=True)
    position = await book(new_command, event)
    assert await seats(query, event, position) == (1, 1, False)
    for model in MODELS[:-1]:
        retried = fleet.run("parked", "retry", model, new=True)
        assert retried.returncode == 0, retried.stderr
    rebuilt = fleet.run("rebuild", "search", "--force", new=True)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert await seats(query, event, position) == (3, 3, False)
    assert await seats(query, event, await book(new_command, event)) == (4, 4, False)
    assert fleet.parked(new=True) == []
    verified = fleet.run("verify", new=True)
    assert verified.returncode == 0, verified.stderr
