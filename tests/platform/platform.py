"""Everything as processes of their own: two of what takes over from each other, on servers of their own."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import httpx

from tests.e2e.served import PROGRAM, Served
from tests.platform.servers import Servers

SAMPLE: Final = Path(__file__).parents[2] / "data" / "conferences.jsonl"
SERVICES: Final = ("command", "relay", "projector", "query")
_SECONDS: Final = 600


class Platform:
    """The servers, the services on them, and the program that looks after them."""

    def __init__(self, directory: Path) -> None:
        self.servers = Servers(directory / "servers", "kafka", "elasticsearch", "redis", "postgres")
        self.read_servers = Servers(directory / "read", "postgres")
        self.settings = {
            "MYEVENTS_DATABASE_URL": self.servers.url("postgres"),
            "MYEVENTS_READ_DATABASE_URL": self.read_servers.url("postgres"),
            "MYEVENTS_LOG_URL": self.servers.url("kafka"),
            "MYEVENTS_SEARCH_URL": self.servers.url("elasticsearch"),
            "MYEVENTS_CACHE_URL": self.servers.url("redis"),
        }
        self.services: dict[str, Served] = {}
        for name, number in itertools.product(SERVICES, (1, 2)):
            log = directory / f"{name}-{number}.log"
            self.services[f"{name} {number}"] = Served("", log, name, settings=self.settings)

    def urls(self, service: Literal["command", "query"]) -> list[str]:
        """Where the two answer that do the same."""
        return [self.services[f"{service} {number}"].url for number in (1, 2)]

    async def start(self) -> None:
        """Start the servers, migrate, start every service, and wait until all are ready."""
        await asyncio.gather(asyncio.to_thread(self.servers.start), asyncio.to_thread(self.read_servers.start))
        assert await self.run("migrate") == 0
        await asyncio.gather(*(service.start() for service in self.services.values()))

    async def run(self, *arguments: str) -> int:
        """Run `myevents` with those arguments; its exit code."""
        code, _ = await self.told(*arguments)
        return code

    async def told(self, *arguments: str) -> tuple[int, str]:
        """Run `myevents`; its exit code, and what it said."""
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *arguments,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        async with asyncio.timeout(_SECONDS):
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    def environment(self) -> Mapping[str, str]:
        """What a program is told that looks after this platform."""
        return {**os.environ, **self.settings, "MYEVENTS_METRICS_PORT": "0"}

    async def ask(self, query: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The data that the query service answers; raises `AssertionError` where it answers errors."""
        async with httpx.AsyncClient(base_url=self.urls("query")[0], timeout=15) as client:
            answer = (await client.post("/graphql", json={"query": query}, headers=headers)).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def caught_up(self, seconds: float = 120) -> None:
        """Wait until the read models and the index have all of the log; raises `AssertionError` with what has not."""
        end = time.monotonic() + seconds
        while True:
            models = (await self.ask("{ readModels { name applied head lagSeconds state } }"))["readModels"]
            live = [model for model in models if model["state"] == "live"]
            if len(live) == 4 and all(model["applied"] >= model["head"] > 0 for model in live):
                return
            assert time.monotonic() < end, models
            await asyncio.sleep(0.2)

    async def booked(self, event: str) -> list[tuple[str, int]]:
        """The bookings of an event in the store, by the log alone: id and seats."""
        connection = await asyncpg.connect(self.servers.url("postgres"))
        try:
            rows = await connection.fetch(
                """select data ->> 'bookingId', (data -> 'lines' -> 0 ->> 'seats')::int from facts
                   where stream_id = $1 and type = 'SeatsBooked'""",
                event,
            )
            return [(row[0], row[1]) for row in rows]
        finally:
            await connection.close()

    def close(self) -> None:
        """Stop services, then servers."""
        for service in self.services.values():
            service.resume()
            service.stop()
        self.servers.stop()
        self.read_servers.stop()
