"""The services with the read models in a database of their own, and what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.served import Served
from tests.e2e.test_serving import ANN, EVENT

EVENTUALLY = 30.0
"""Seconds within which whatever was lost is back by itself."""


class Apart:
    """Command, projector and query service, or all in one process."""

    def __init__(
        self, store: str, reads: str, directory: Path, exits: ExitStack, *, replicas: str = "", one: bool = False
    ) -> None:
        settings = {"MYEVENTS_READ_DATABASE_URL": reads, "MYEVENTS_READ_REPLICA_URL": replicas}

        def service(name: str, settings: Mapping[str, str] = settings) -> Served:
            process = Served(store, directory / f"{name}.log", name, settings)
            exits.callback(process.stop)
            return process

        if one:
            self.command = self.query = service("serve")
            self.all = [self.command]
        else:
            self.command, self.projector, self.query = service("command"), service("projector"), service("query")
            self.all = [self.command, self.projector, self.query]

    async def start(self) -> None:
        """All at once."""
        await asyncio.gather(*(process.start() for process in self.all))

    async def create(self) -> str:
        """A new event with many seats: its id."""
        return str((await self._posted("/api/events", EVENT | {"capacity": 100_000}))[0])

    async def book(self, event: str) -> str:
        """Book a seat, which must be done; the position."""
        return (await self._posted(f"/api/events/{event}/bookings", {"seats": 1}))[1]

    async def seats(self, event: str, position: str | None = None) -> tuple[int | None, bool, str | None]:
        """The seats booked by the query service, whether it calls them stale, and the code of its refusal."""
        answer = await self.ask(f'{{ event(id: "{event}") {{ seatsBooked }} }}', position)
        found = (answer.get("data") or {}).get("event")
        errors = answer.get("errors", [{}])
        return (
            found["seatsBooked"] if found else None,
            answer.get("extensions", {}).get("stale", False),
            errors[0].get("extensions", {}).get("code"),
        )

    async def come_to(self, event: str, position: str, seats: int) -> None:
        """Wait until the query service shows so many seats."""
        answers: list[tuple[int | None, bool, str | None]] = []
        async with asyncio.timeout(EVENTUALLY):
            while not answers or answers[-1] != (seats, False, None):
                answers.append(await self.seats(event, position))
                await asyncio.sleep(0.1)

    async def come_to_be_refused(self, event: str) -> None:
        """Wait until the query service says that it cannot answer now."""
        async with asyncio.timeout(EVENTUALLY):
            while await self.seats(event) != (None, False, "OVERLOADED"):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.1)

    async def ask(self, query: str, position: str | None = None) -> dict[str, Any]:
        """The whole answer of the query service, within its deadline."""
        headers = ANN | ({"MyEvents-Position": position} if position else {})
        async with httpx.AsyncClient(base_url=self.query.url, headers=headers, timeout=8) as client:
            answer: dict[str, Any] = (await client.post("/graphql", json={"query": query})).json()
            return answer

    async def status(self, service: Served, path: str) -> int:
        """The status of a GET."""
        async with httpx.AsyncClient(base_url=service.url, timeout=8) as client:
            return (await client.get(path)).status_code

    async def _posted(self, path: str, body: dict[str, Any]) -> tuple[str, str]:
        async with httpx.AsyncClient(base_url=self.command.url, headers=ANN, timeout=8) as client:
            answer = await client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            return answer.json()["id"], answer.headers["MyEvents-Position"]
