"""What is lost while a part is away: `python -m benchmarks.losing [SECONDS]`, the table of docs/guarantees.md.

Everything runs as separate processes on servers of its own, under the load of 64 callers who book. Each part is killed,
and started again after 5 s; then each is stopped where it is for so many seconds (30). The table tells the longest time
that each kind of caller had no success, and how soon all had again once the part was back.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.platform.faults import How, Suffered, lose
from tests.platform.load import Load
from tests.platform.platform import SAMPLE, Platform

PARTS: tuple[tuple[str, ...], ...] = (
    ("Kafka",),
    ("Elasticsearch",),
    ("Redis",),
    ("PostgreSQL",),
    ("read database",),
    ("command 1",),
    ("command 1", "command 2"),
    ("relay 1",),
    ("relay 1", "relay 2"),
    ("projector 1",),
    ("projector 1", "projector 2"),
    ("query 1",),
    ("query 1", "query 2"),
    ("Kafka", "Elasticsearch"),
    ("Redis", "read database"),
    ("PostgreSQL", "Kafka"),
    ("relay 1", "projector 1"),
)
KILLED = 5.0
"""Seconds after which a supervisor has what was killed started again."""


async def main(seconds: float, directory: Path) -> None:
    """Lose each part in each way, check that nothing was lost for good, and print the table."""
    platform = Platform(directory)
    try:
        await platform.start()
        assert await platform.run("import", str(SAMPLE)) == 0
        await platform.caught_up()
        load = Load(platform)
        suffered = []
        async with load.running(64, pause=1.0):
            await asyncio.sleep(3)
            away: dict[How, float] = {"killed": KILLED, "stopped": seconds}
            for how, span in away.items():
                for parts in PARTS:
                    suffered.append(await lose(platform, load, parts, how, span))
                    assert load.wrong == [], load.wrong
        recorded = await platform.booked(load.event)
        assert len(recorded) == len(load.acknowledged), "a booking was lost, or is there twice"
        assert {booking for booking, _ in recorded} == set(load.acknowledged.values())
        await platform.caught_up()
        for check in (("verify",), ("verify", "--log")):
            code, told = await platform.told(*check)
            assert code == 0, told
    finally:
        await asyncio.to_thread(platform.close)
    _show(seconds, len(recorded), suffered)


def _show(seconds: float, bookings: int, suffered: list[Suffered]) -> None:
    table = Table(
        title=f"Killed for {KILLED:.0f} s, stopped for {seconds:.0f} s; {bookings:,} bookings, each there once"
    )
    for column in ("lost", "how", "booking", "list", "search", "own booking seen", "all back after"):
        table.add_column(column, justify="left" if column in ("lost", "how") else "right")
    for loss in suffered:
        gaps = [f"{loss.gaps[name]:.1f}" for name in ("booking", "list", "search", "fresh")]
        table.add_row(", ".join(loss.parts), loss.how, *gaps, f"{loss.back:.1f}")
    Console().print(table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0, Path(made)))
