"""A query that is given a position shows what was done up to there, or says that it does not."""

from __future__ import annotations

import asyncio

import pytest

from query import position
from query.position import Position


class Slow:
    """Read models that come to seq 1 only once they are let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.asked = 0

    async def applied(self, _model: str, _partition: int, /) -> int:
        self.asked += 1
        return int(self.let.is_set())


async def test_every_field_of_a_request_waits_for_the_model() -> None:
    models = Slow()
    wanted = Position(models, "3:1")
    fields = [asyncio.create_task(wanted.reached("events")) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert not any(field.done() for field in fields)
    models.let.set()
    await asyncio.gather(*fields)
    assert not wanted.stale


async def test_the_models_of_a_request_share_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position, "PATIENCE", 0.05)
    wanted = Position(Slow(), "3:1")
    async with asyncio.timeout(2):
        for model in ("events", "locations", "bookings") * 10:
            await wanted.reached(model)
    assert wanted.stale


async def test_a_request_that_ends_stops_waiting() -> None:
    models = Slow()
    field = asyncio.create_task(Position(models, "3:1").reached("events", "bookings"))
    await asyncio.sleep(0.05)
    field.cancel()
    with pytest.raises(asyncio.CancelledError):
        await field
    asked = models.asked
    await asyncio.sleep(0.1)
    assert models.asked == asked
