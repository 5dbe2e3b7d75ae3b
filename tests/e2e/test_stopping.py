"""A service that is told to stop lets nobody down, and is gone within ten seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from tests.e2e.served import Served, free_port, served, until
from tests.e2e.test_serving import EVENT
from tests.e2e.test_surviving import bookings_in

BUYERS = 16
WITHIN = 10.0
"""Seconds in which a service is gone."""


async def stopped(service: Served, how: signal.Signals) -> None:
    """Stop it; it must be gone in time, and content."""
    begun = time.monotonic()
    code = await asyncio.to_thread(service.stop, how)
    taken = time.monotonic() - begun
    assert code == 0, f"{code} after {taken:.1f} s: {service.said()}"
    assert taken < WITHIN


class Request(Struct):
    """A booking that was asked for, at a time of the monotonic clock."""

    begun: float
    status: int | None = None
    booking: str = ""


class Load:
    """Callers who book on connections that they keep, and one who watches whether the service is able."""

    def __init__(self, service: Served, metrics_port: int) -> None:
        self._service = service
        self._metrics = f"http://127.0.0.1:{metrics_port}"
        self.requests: list[Request] = []
        self.unable_since = float("inf")
        self.stopping = False

    async def event(self) -> str:
        """An event with seats for all."""
        async with httpx.AsyncClient(base_url=self._service.url, headers={"MyEvents-User": "usr_ann"}) as client:
            made = await client.post("/api/events", json=EVENT | {"capacity": 1_000_000})
            event: str = made.json()["id"]
            return event

    async def buy(self, event: str) -> None:
        """Book one seat after the other until the service is gone."""
        headers = {"MyEvents-User": "usr_ben"}
        async with httpx.AsyncClient(base_url=self._service.url, timeout=20, headers=headers) as client:
            while not self.stopping:
                request = Request(time.monotonic())
                self.requests.append(request)
                try:
                    answer = await client.post(f"/api/events/{event}/bookings", json={"seats": 1})
                except httpx.TransportError:
                    if time.monotonic() > self.unable_since:
                        return
                    continue
                request.status = answer.status_code
                request.booking = answer.json().get("id", "") if answer.status_code == 201 else ""

    async def watch(self) -> None:
        """Note when /readyz begins to say no, on both of its ports; it must have said so before it is gone."""
        async with httpx.AsyncClient(timeout=5) as client:
            while (await client.get(f"{self._metrics}/readyz")).status_code == 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
            self.unable_since = time.monotonic()
            assert (await client.get(f"{self._metrics}/healthz")).status_code == 200

    def unanswered(self) -> list[Request]:
        """Those asked for while the service called itself able that got no answer."""
        return [r for r in self.requests if r.begun < self.unable_since and r.status is None]

    def acknowledged(self) -> set[str]:
        """The bookings that were promised."""
        return {request.booking for request in self.requests if request.status == 201}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["serve", "command"])
async def test_a_service_stopped_under_load_answers_all_that_it_took_and_loses_no_booking(
    database_url: str, tmp_path: Path, name: str, how: signal.Signals
) -> None:
    port = free_port()
    settings = {"MYEVENTS_METRICS_PORT": str(port), "MYEVENTS_STOP_DELAY": "1"}
    with served(database_url, tmp_path, name, settings) as service:
        await service.start()
        load = Load(service, port)
        event = await load.event()
        tasks = [asyncio.create_task(load.buy(event)) for _ in range(BUYERS)]
        watching = asyncio.create_task(load.watch())
        await until(lambda: _count(load, 200))
        await stopped(service, how)
        await asyncio.gather(*tasks, watching)
    assert load.unanswered() == []
    assert {request.status for request in load.requests} <= {201, 503, None}
    recorded = await bookings_in(database_url, event)
    assert load.acknowledged() <= set(recorded)
    # What nobody promised was asked for on connections that the end broke.
    assert len(recorded) - len(load.acknowledged()) <= BUYERS


async def _count(load: Load, least: int) -> bool:
    return len(load.acknowledged()) >= least


class Database:
    """A server of the test's own, which can be held where it is."""

    def __init__(self, home: Path) -> None:
        self.server = EmbeddedPostgres(home)
        self._pid = home / "data" / "postmaster.pid"

    def _signal(self, number: signal.Signals) -> None:
        # Its backends are processes of the same session.
        leader = int(self._pid.read_text().split()[0])
        for found in Path("/proc").glob("[0-9]*/stat"):
            pid, _, rest = found.read_text().partition(" (")
            parent = int(rest.rpartition(")")[2].split()[1])
            if parent == leader or int(pid) == leader:
                os.kill(int(pid), number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile it answers nothing."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)


@pytest.mark.parametrize("name", ["serve", "command"])
async def test_a_service_stopped_while_its_database_hangs_answers_everybody_and_loses_no_booking(
    directory: Path, name: str
) -> None:
    database = Database(directory / "postgres")
    await database.server.start()
    try:
        await migrate(database.server.dsn)
        port = free_port()
        settings = {"MYEVENTS_METRICS_PORT": str(port), "MYEVENTS_STOP_DELAY": "1"}
        with served(database.server.dsn, directory, name, settings) as service:
            await service.start()
            load = Load(service, port)
            event = await load.event()
            tasks = [asyncio.create_task(load.buy(event)) for _ in range(BUYERS)]
            await until(lambda: _count(load, 200))
            with database.held():
                load.stopping = True
                load.unable_since = time.monotonic()
                await stopped(service, signal.SIGTERM)
                await asyncio.gather(*tasks)
        assert load.unanswered() == []
        assert {request.status for request in load.requests} <= {201, 503}
        assert load.acknowledged() <= set(await bookings_in(database.server.dsn, event))
    finally:
        await database.server.stop()


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_a_closed_terminal_stops_the_database_too(directory: Path, how: signal.Signals) -> None:
    with served(f"embedded:{directory / 'postgres'}", directory) as service:
        await service.start()
        await stopped(service, how)
    assert not (directory / "postgres" / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("name", ["serve", "projector", "query"])
async def test_a_service_whose_own_embedded_database_hangs_is_gone_all_the_same(directory: Path, name: str) -> None:
    database = Database(directory / "postgres")
    with served(f"embedded:{directory / 'postgres'}", directory, name, {"MYEVENTS_STOP_DELAY": "1"}) as service:
        await service.start()
        with database.held():
            await stopped(service, signal.SIGTERM)
    # It was told to stop, and does once it is let go.
    await until(_gone(directory / "postgres" / "data" / "postmaster.pid"))


async def test_a_service_under_nohup_goes_on_when_the_terminal_closes(directory: Path, database_url: str) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with served(database_url, directory, "command") as service:
            await service.start()
            with pytest.raises(subprocess.TimeoutExpired):
                await asyncio.to_thread(service.send, signal.SIGHUP, 2)
            await stopped(service, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


def _gone(file: Path) -> Callable[[], Awaitable[bool]]:
    async def gone() -> bool:
        return not await asyncio.to_thread(file.exists)

    return gone
