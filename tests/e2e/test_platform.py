"""Everything together, as separate processes on the real servers; and what is lost with each of them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.platform.faults import How, lose
from tests.platform.load import Load
from tests.platform.platform import SAMPLE, Platform

pytestmark = [
    pytest.mark.xdist_group("platform"),  # all of them on the one that the module starts
    pytest.mark.skipif(
        "MYEVENTS_TEST_LOG_URL" not in os.environ, reason="needs Kafka, Elasticsearch, Redis: MYEVENTS_TEST_*_URL"
    ),
]

AWAY: Final = 4.0
"""Seconds that a part is away; `python -m benchmarks.losing` takes longer, and tells what it costs."""

PROMPT: Final = 10.0
"""Seconds after which a caller would say that booking had stopped."""

LOSSES: Final[tuple[tuple[tuple[str, ...], How], ...]] = (
    (("Redis",), "killed"),
    (("Kafka",), "killed"),
    (("Elasticsearch",), "killed"),
    (("read database",), "killed"),
    (("PostgreSQL",), "killed"),
    (("relay 1",), "killed"),
    (("projector 1",), "killed"),
    (("query 1",), "killed"),
    (("command 1",), "killed"),
    (("relay 1",), "stopped"),
    (("projector 2",), "stopped"),
    (("command 2",), "stopped"),
    (("Redis",), "stopped"),
    (("Kafka", "read database"), "stopped"),
    (("Elasticsearch", "Redis"), "killed"),
)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """All of it, started, with the sample conferences; a test leaves it whole."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        made = Platform(Path(directory))
        try:
            asyncio.run(started(made))
            yield made
        finally:
            made.close()


async def started(platform: Platform) -> None:
    """Start it and fill it."""
    await platform.start()
    assert await platform.run("import", str(SAMPLE)) == 0
    await platform.caught_up()


async def whole(platform: Platform, load: Load) -> None:
    """Every booking that was acknowledged is there once, in the log and everywhere else."""
    recorded = await platform.booked(load.event)
    assert len(recorded) == len(load.acknowledged) > 0
    assert {booking for booking, _ in recorded} == set(load.acknowledged.values())
    await platform.caught_up()
    shown = await platform.ask(f'{{ event(id: "{load.event}") {{ seatsBooked }} }}')
    assert shown["event"]["seatsBooked"] == len(recorded)
    for check in (("verify",), ("verify", "--log")):
        code, told = await platform.told(*check)
        assert code == 0, told


async def test_all_of_it_books_and_searches_and_is_whole_whatever_is_lost(platform: Platform) -> None:
    found = await platform.ask('{ searchEvents(search: "react london", first: 3) { totalCount } }')
    assert found["searchEvents"]["totalCount"] > 0
    load = Load(platform)
    async with load.running(64, pause=1.0):
        for parts, how in LOSSES:
            suffered = await lose(platform, load, parts, how, AWAY)
            assert load.wrong == []
            # All else may be away: booking goes on.
            if "PostgreSQL" not in parts:
                assert suffered.gaps["booking"] < PROMPT, suffered
    await whole(platform, load)


async def test_what_kafka_and_the_index_lose_for_good_comes_back_from_the_store(platform: Platform) -> None:
    load = Load(platform)
    async with load.running(8, pause=0.5):
        await asyncio.sleep(2)
        platform.servers.kill("kafka")
        await asyncio.to_thread(platform.servers.forget, "kafka")
        await asyncio.to_thread(platform.servers.start, "kafka")
        assert await platform.run("migrate") == 0
        code, told = await platform.told("verify", "--log", "--repair")
        assert code == 0, told
        async with httpx.AsyncClient(base_url=platform.servers.url("elasticsearch")) as elasticsearch:
            for index in (await elasticsearch.get("/_alias")).json():
                assert (await elasticsearch.delete(f"/{index}")).status_code == 200
        code, told = await platform.told("rebuild", "search")
        assert code == 0, told
        code, told = await platform.told("rebuild", "events")
        assert code == 0, told
    await whole(platform, load)
    assert load.wrong == []
    found = await platform.ask('{ searchEvents(search: "react london", first: 3) { totalCount } }')
    assert found["searchEvents"]["totalCount"] > 0
