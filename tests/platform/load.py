"""Callers who book and insist, and others who look meanwhile whether what they get goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from tests.e2e.test_serving import EVENT
from tests.platform.platform import Platform

PATIENCE: Final = 5.0
"""Seconds a caller waits for an answer before he asks elsewhere."""

LIST: Final = "{ events(first: 5) { nodes { id seatsAvailable } } }"
SEARCH: Final = '{ searchEvents(search: "react", first: 5) { nodes { event { id } } } }'


class Watch:
    """When something went well."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def well(self) -> None:
        """Note that it went well just now."""
        self.times.append(time.monotonic())

    def gap(self, since: float, until: float) -> float:
        """The longest time between two times that it went well, within a span."""
        within = [since, *(at for at in self.times if since < at < until), until]
        return max(later - earlier for earlier, later in itertools.pairwise(within))

    def after(self, moment: float) -> bool:
        """Whether it has gone well since."""
        return bool(self.times) and self.times[-1] > moment


class Route:
    """The way of one caller to services that do the same: he asks one until it has no answer, then the next."""

    def __init__(self, clients: Sequence[httpx.AsyncClient], first: int = 0) -> None:
        self._clients = clients
        self._at = first

    async def answered(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> httpx.Response | None:
        """The answer, None where there is none now."""
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._clients[self._at % len(self._clients)].post(path, headers=headers, json=body)
            if answer.status_code not in (429, 503):
                return answer
        self._at += 1
        return None


class Load:
    """What is asked of the platform all the while: `acknowledged` has the booking under each key that was answered."""

    def __init__(self, platform: Platform) -> None:
        self.event = ""
        self.acknowledged: dict[str, str] = {}
        self.wrong: list[str] = []
        self._position = ""
        self._stopping = False
        self._commands = [_client(url) for url in platform.urls("command")]
        self._queries = [_client(url) for url in platform.urls("query")]
        self.watches = {name: Watch() for name in ("booking", "list", "search", "fresh")}

    @asynccontextmanager
    async def running(self, callers: int, *, pause: float = 0.1) -> AsyncIterator[Load]:
        """Let `callers` book one seat after another, each `pause` seconds apart, and one of each other kind look."""
        made = await Route(self._commands).answered("/api/events", _person("ann"), EVENT | {"capacity": 10**6})
        assert made is not None, "the event could not be made"
        self.event, self._position = made.json()["id"], made.headers["MyEvents-Position"]
        working = [
            *(self._buys(number, pause) for number in range(callers)),
            self._looks("list", LIST),
            self._looks("search", SEARCH),
            self._sees_what_was_booked(),
        ]
        tasks = [asyncio.create_task(work) for work in working]
        try:
            yield self
        finally:
            for task in tasks[callers:]:
                task.cancel()
            self._stopping = True
            await asyncio.wait(tasks, timeout=60)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in (*self._commands, *self._queries):
                await client.aclose()

    async def _buys(self, caller: int, pause: float) -> None:
        route, name = Route(self._commands, caller), f"b{caller}"
        url = f"/api/events/{self.event}/bookings"
        for number in itertools.count():
            if self._stopping:
                return
            key = f"{self.event}-{name}-{number}"
            headers = _person(name) | {"Idempotency-Key": key}
            while key not in self.acknowledged:
                answer = await route.answered(url, headers, {"seats": 1})
                if answer is None:
                    await asyncio.sleep(0.2)
                elif answer.status_code == 201:
                    self.acknowledged[key] = answer.json()["id"]
                    self._position = answer.headers["MyEvents-Position"]
                    self.watches["booking"].well()
                else:
                    self.wrong.append(answer.text)
                    return
            await asyncio.sleep(pause)

    async def _looks(self, name: str, query: str) -> None:
        route = Route(self._queries)
        await self._again_and_again(lambda: self._asks(route, name, query, {}))

    async def _sees_what_was_booked(self) -> None:
        route = Route(self._queries)
        query = f'{{ event(id: "{self.event}") {{ seatsBooked }} }}'
        await self._again_and_again(lambda: self._asks(route, "fresh", query, {"MyEvents-Position": self._position}))

    async def _asks(self, route: Route, name: str, query: str, headers: dict[str, str]) -> None:
        answer = await route.answered("/graphql", headers, {"query": query})
        if answer is None:
            return
        document = answer.json()
        if "errors" not in document:
            if not document.get("extensions", {}).get("stale"):
                self.watches[name].well()
        elif any(error.get("extensions", {}).get("code") != "OVERLOADED" for error in document["errors"]):
            self.wrong.append(f"{name}: {document['errors']}")

    async def _again_and_again(self, ask: Callable[[], Awaitable[None]]) -> None:
        while True:
            await ask()
            await asyncio.sleep(0.1)


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=200), verify=False)


def _person(name: str) -> dict[str, str]:
    return {"MyEvents-User": f"usr_{name}"}
