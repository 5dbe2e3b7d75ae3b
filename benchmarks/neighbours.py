"""Eight callers book while another caller attacks: what the eight notice of each attack.

`python -m benchmarks.neighbours [--seconds S] [--pause S] [ATTACK...]`. Server, callers and attacker are processes of
their own on one machine. Each of the eight books one seat, waits `pause` seconds, and books the next. For each attack a
server starts on an empty database; the callers' speed is measured before the attack and during it, as long each. Exits
with 1 where an attack costs them more than a third of their speed, an error or a connection.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import httpx
import uvloop
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from benchmarks.attacks import ATTACKS
from benchmarks.hot_event import EVENT
from benchmarks.plain_http import Connection
from benchmarks.service import service
from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from schema.ids import partition_of
from schema.sessions import SESSION_SETTINGS
from schema.tables import PARTITIONS

CALLERS = 8
USER = "MyEvents-User: usr_ann"
LEAST_RATIO = 2 / 3
"""What must be left of the callers' speed (G15)."""


class Span(Struct):
    """What the callers got within a span of time."""

    seconds: float
    taken: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def rate(self) -> float:
        """Bookings a second."""
        return len(self.taken) / self.seconds

    def at(self, part: float) -> float:
        """The time in milliseconds that this part of the bookings took at most."""
        taken = sorted(self.taken) or [float("inf")]
        return taken[min(len(taken) - 1, int(len(taken) * part))] * 1000


class Callers:
    """Eight callers, each on a connection of its own, who book one event each."""

    def __init__(self, port: int, events: list[str], pause: float) -> None:
        self._port = port
        self._events = events
        self._pause = pause
        self._span = Span(0)
        self.acknowledged = 0

    async def measure(self, seconds: float) -> Span:
        """What they get within so many seconds."""
        self._span = Span(seconds)
        end = time.perf_counter() + seconds
        await asyncio.gather(*(self._book(event, end) for event in self._events))
        return self._span

    async def _book(self, event: str, end: float) -> None:
        connection = await Connection.open(self._port)
        while time.perf_counter() < end:
            begin = time.perf_counter()
            try:
                status = await connection.post(
                    f"/api/events/{event}/bookings", b'{"seats": 1}', "MyEvents-User: usr_ann"
                )
            except (OSError, EOFError):
                self._span.errors += 1
                connection = await Connection.open(self._port)
                continue
            if status == 201:
                self.acknowledged += 1
                self._span.taken.append(time.perf_counter() - begin)
            else:
                self._span.errors += 1
            await asyncio.sleep(self._pause)
        connection.close()


async def measure_attack(server: EmbeddedPostgres, name: str, seconds: float, pause: float) -> tuple[Span, Span, str]:
    """The callers' speed before the attack and during it, and the attacker's answers.

    Raises `AssertionError` where a booking is lost.
    """
    database = f"bench_{name}"
    owner = await asyncpg.connect(server.dsn, server_settings=dict(SESSION_SETTINGS))
    await owner.execute(f"create database {database}")
    await owner.close()
    dsn = server.dsn.replace("/postgres?", f"/{database}?")
    await migrate(dsn)
    async with service(["-m", "myevents", "serve", "--sample", "data/conferences.jsonl"], dsn) as port:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers={"MyEvents-User": "usr_ann"}) as client:
            events = await _create_events(client)
        callers = Callers(port, events, pause)
        await callers.measure(2)
        before = await callers.measure(seconds)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.attacks", name, str(port), *events, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n", f"{name} could not be prepared"
            during = await callers.measure(seconds)
            assert process.returncode is None, f"{name} ended by itself"
        finally:
            if process.returncode is None:
                process.terminate()
            answers, _ = await process.communicate()
    connection = await asyncpg.connect(dsn, server_settings=dict(SESSION_SETTINGS))
    recorded = await connection.fetchval(
        "select count(*) from facts where stream_id = any($1) and type = 'SeatsBooked'", events
    )
    await connection.close()
    assert recorded >= callers.acknowledged, f"{recorded} of {callers.acknowledged} bookings are in the log"
    return before, during, answers.decode()


async def _create_events(client: httpx.AsyncClient) -> list[str]:
    """An event for each caller, each in a partition of its own."""
    events: dict[int, str] = {}
    while len(events) < CALLERS:
        event = (await client.post("/api/events", json=EVENT | {"capacity": 1_000_000})).json()["id"]
        events.setdefault(partition_of(event, PARTITIONS), event)
    return list(events.values())


async def main(names: list[str], seconds: float, pause: float, directory: Path) -> bool:
    """Measure each attack and print the table; whether all of them stayed within the limits."""
    table = Table(title=f"{CALLERS} callers book, {pause * 1000:.0f} ms apart, while another caller attacks")
    table.add_column("attack")
    for column in ("before /s", "p99 ms", "during /s", "p50 ms", "p99 ms", "p99.9 ms", "ratio", "errors"):
        table.add_column(column, justify="right")
    table.add_column("attacker's answers")
    within = True
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        for name in names:
            before, during, answers = await measure_attack(server, name, seconds, pause)
            ratio = during.rate / before.rate
            within = within and ratio >= LEAST_RATIO and not during.errors
            times = [f"{during.at(part):.1f}" for part in (0.5, 0.99, 0.999)]
            speeds = (f"{before.rate:.0f}", f"{before.at(0.99):.1f}", f"{during.rate:.0f}")
            table.add_row(name.replace("_", " "), *speeds, *times, f"{ratio:.2f}", str(during.errors), answers)
    finally:
        await server.stop()
    Console(width=160).print(table)
    return within


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], metavar="ATTACK", help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pause", type=float, default=0.04)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        if not uvloop.run(main(given.attacks or list(ATTACKS), given.seconds, given.pause, Path(made))):
            sys.exit(1)
