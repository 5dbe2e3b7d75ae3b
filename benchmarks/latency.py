"""Runs callers side by side, and tells how long each call took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from rich.console import Console
from rich.table import Table

CALLERS = 64


async def measure(
    calls: int, call: Callable[[int], Awaitable[object]], callers: int = CALLERS
) -> tuple[float, list[float]]:
    """Make `calls` calls from `callers` callers; calls a second, and each one's seconds in order of size."""
    numbers, taken = iter(range(calls)), list[float]()

    async def caller() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await call(number)
            taken.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return calls / (time.perf_counter() - begun), sorted(taken)


def show(title: str, rows: Sequence[tuple[str, float, list[float]]]) -> None:
    """Print a table; the last row is the baseline of the ratios."""
    table = Table(title=title)
    for column in ("", "a second", "ratio", "p50 ms", "p99 ms", "p99.9 ms"):
        table.add_column(column, justify="left" if not column else "right")
    baseline = rows[-1][1]
    for name, speed, taken in rows:
        at = [f"{taken[min(len(taken) - 1, int(len(taken) * part))] * 1000:.2f}" for part in (0.5, 0.99, 0.999)]
        table.add_row(name, f"{speed:,.0f}", f"{speed / baseline:.1f}", *at)
    Console().print(table)
