"""`myevents log`, as somebody at a terminal uses it."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from tests.command_side import an_event, book, command_side
from tests.e2e.served import PROGRAM, environment


@asynccontextmanager
async def log(database_url: str, directory: Path, *arguments: str) -> AsyncIterator[Process]:
    """`myevents log` with those arguments, killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "log", *arguments, stdout=PIPE, env=environment(database_url, directory)
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told(process: Process) -> dict[str, Any]:
    """The next line."""
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
    return line


async def listens(database_url: str) -> None:
    """Return once somebody waits for notices of facts."""
    connection = await asyncpg.connect(database_url)
    async with asyncio.timeout(20):
        while not await connection.fetchval(  # noqa: ASYNC110 - it happens in another process
            "select 1 from pg_stat_activity where query ilike 'listen%' and datname = current_database()"
        ):
            await asyncio.sleep(0.05)
    await connection.close()


async def test_each_new_fact_is_told_as_it_comes_until_ctrl_c(database_url: str, tmp_path: Path) -> None:
    async with command_side(database_url) as service:
        await an_event(service)
        async with log(database_url, tmp_path, "tail") as process:
            await listens(database_url)
            event = await an_event(service)
            await book(service, event, 2)
            lines = [await told(process) for _ in range(3)]
            assert [(line["stream"], line["version"], line["type"]) for line in lines] == [
                (event, 1, "EventCreated"),
                (event, 2, "EventPublished"),
                (event, 3, "SeatsBooked"),
            ]
            assert lines[2]["data"]["lines"][0]["seats"] == 2
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 20) == 0
            assert process.stdout is not None
            assert await process.stdout.read() == b""


async def test_a_stream_is_told_from_its_start_and_on_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    async with command_side(database_url) as service:
        event, *others = [await an_event(service) for _ in range(20)]
        async with log(database_url, tmp_path, "tail", "--stream", event, "--from-start") as process:
            versions = [(await told(process))["version"] for _ in range(2)]
            for each in (*others, event):
                await book(service, each, 1)
            last = await told(process)
    assert [*versions, last["version"]] == [1, 2, 3]
    assert last["stream"] == event


async def test_the_whole_log_is_shown_and_a_partition_of_it(database_url: str, tmp_path: Path) -> None:
    async with command_side(database_url) as service:
        for _ in range(20):
            await an_event(service)
    async with log(database_url, tmp_path, "show") as process:
        shown = [json.loads(line) for line in (await process.communicate())[0].splitlines()]
    assert len({(line["partition"], line["seq"]) for line in shown}) == 40
    async with log(
        database_url, tmp_path, "show", "--partition", str(shown[0]["partition"]), "--limit", "1"
    ) as process:
        assert json.loads((await process.communicate())[0]) == shown[0]
