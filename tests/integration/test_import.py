"""Importing real conferences, and files of the same form that are less tidy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from command.conferences import ConferenceImport, Tally
from command.writer import Writer
from myevents.store import open_pool
from schema.tables import PARTITIONS
from tests.command_side import facts_in_log

SAMPLE = Path(__file__).parents[2] / "data" / "conferences.jsonl"


async def imported(
    database_url: str, lines: list[bytes], stop_after: int | None = None
) -> tuple[Tally, dict[int, str]]:
    """Import lines as one process does, killed after so many where told; what became of them, and why not."""
    pool = await open_pool(database_url)
    rejected: dict[int, str] = {}
    seen = 0
    enough = asyncio.Event()

    def progress() -> None:
        nonlocal seen
        seen += 1
        if seen == stop_after:
            enough.set()

    try:
        async with Writer(pool, PARTITIONS) as writer:
            work = ConferenceImport(writer)
            task = asyncio.create_task(work.run(lines, rejected.__setitem__, progress))
            stop = asyncio.create_task(enough.wait())
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            else:
                task.result()
    finally:
        await pool.close()
    return work.tally, rejected


async def halls_in_use(database_url: str) -> list[asyncpg.Record]:
    """Which event has which hall when."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("select event_id, hall_id, during from hall_events order by event_id")
    await connection.close()
    return rows


async def test_every_real_conference_becomes_an_event_and_a_second_import_changes_nothing(database_url: str) -> None:
    lines = SAMPLE.read_bytes().splitlines()
    tally, rejected = await imported(database_url, lines)
    assert (tally.imported + tally.known, rejected) == (5146, {})
    facts, halls = await facts_in_log(database_url), await halls_in_use(database_url)
    tally, rejected = await imported(database_url, lines)
    assert (tally.imported, tally.known, rejected) == (0, 5146, {})
    assert await facts_in_log(database_url) == facts
    assert await halls_in_use(database_url) == halls


@pytest.mark.parametrize("stop_after", [1, 300, 900])
async def test_an_import_that_was_stopped_goes_on_without_duplicates(database_url: str, stop_after: int) -> None:
    lines = SAMPLE.read_bytes().splitlines()[:1000]
    await imported(database_url, lines, stop_after)
    tally, rejected = await imported(database_url, lines)
    assert (tally.imported + tally.known, rejected) == (1000, {})
    connection = await asyncpg.connect(database_url)
    names = await connection.fetch("select data -> 'details' ->> 'name' from facts where type = 'EventCreated'")
    await connection.close()
    assert len(names) == 1000


async def test_lines_that_cannot_be_are_told_with_number_and_reason_and_the_rest_goes_on(database_url: str) -> None:
    long = "x" * 100
    lines = [
        '{"name": "Fine", "startDate": "2020-01-01", "city": "Wrocław", "country": "Poland"}',
        '{"startDate": "2020-01-01"}',
        '{"name": "Backwards", "startDate": "2020-01-02", "endDate": "2020-01-01"}',
        '{"name": "No such day", "startDate": "2020-02-30"}',
        "not json",
        "",
        '{"name": "Fine", "startDate": "2020-01-01", "city": "Wrocław", "country": "Poland"}',
        f'{{"name": "{long}", "startDate": "2020-01-01", "online": true}}',
        '{"name": "<b>Bold</b> & \\"quoted\\" 🎉 \u202e", "startDate": "2020-01-01", "topics": ["a", "a"], "who": 1}',
        '{"name": "NUL \\u0000", "startDate": "2020-01-01"}',
        '{"name": "Half \\ud83d", "startDate": "2020-01-01"}',
        '{"name": "Placeless", "startDate": "2020-01-01", "city": "Nowhere"}',
        '{"name": "Too late", "startDate": "9999-12-31"}',
        '{"name": "At once", "startDate": "2020-01-01", "city": "Wrocław", "country": "Poland"}',
        '{"name": "Too early", "startDate": "1899-12-31", "endDate": "1900-01-01"}',
        '{"name": "Too late by a day", "startDate": "2999-12-30", "endDate": "2999-12-31"}',
        '{"name": "Too long", "startDate": "2020-01-01", "endDate": "2030-01-08"}',
        '{"name": "Early", "startDate": "1900-01-01"}',
        '{"name": "Late", "startDate": "2999-12-30"}',
        '{"name": "Long", "startDate": "2020-01-01", "endDate": "2030-01-07"}',
    ]
    tally, rejected = await imported(database_url, [line.encode() for line in lines])
    assert sorted(rejected) == [2, 3, 4, 5, 10, 11, 12, 13, 15, 16, 17]
    assert rejected[3] == "endDate: It ends before it starts."
    assert (tally.imported, tally.known) == (7, 1)
    assert [rejected[line].partition(":")[0] for line in (13, 15, 16, 17)] == [
        "startDate",
        "startDate",
        "endDate",
        "endDate",
    ]
    # Two in one city at one time have a hall each.
    assert len({row["hall_id"] for row in await halls_in_use(database_url)}) == 2


async def test_a_second_file_takes_halls_that_the_first_left_free(database_url: str) -> None:
    one = b'{"name": "One", "startDate": "2020-01-01", "city": "Oslo", "country": "Norway"}'
    two = b'{"name": "Two", "startDate": "2020-01-01", "city": "Oslo", "country": "Norway"}'
    await imported(database_url, [one])
    tally, rejected = await imported(database_url, [two])
    assert (tally.imported, rejected) == (1, {})
    assert len({row["hall_id"] for row in await halls_in_use(database_url)}) == 2
