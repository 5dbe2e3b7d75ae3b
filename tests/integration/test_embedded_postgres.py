"""The PostgreSQL that comes along, with real processes that share it, leave it and are killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from myevents.embedded import SOCKET_LIMIT, EmbeddedPostgres

_USER: Final = """
import asyncio, sys
from pathlib import Path
from myevents.embedded import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop()
    print("left", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty place that the server's account may enter; emptied afterwards."""
    made = Path(tempfile.mkdtemp(prefix="pg"))
    made.chmod(0o711)
    yield made / "postgres"
    shutil.rmtree(made)


@contextlib.asynccontextmanager
async def using(directory: Path) -> AsyncIterator[Process]:
    """A process that uses the server until it reads a line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _USER, str(directory), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await heard(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def heard(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()


async def leave(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    assert await heard(process) == "left"


async def ask(dsn: str, statement: str = "select 1") -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def answer_within(dsn: str, seconds: float) -> object:
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return await ask(dsn, "select n from kept")
            await asyncio.sleep(0.1)


def postmaster(directory: Path) -> int | None:
    """The pid of the running server; None where its file is gone."""
    try:
        return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])
    except FileNotFoundError:
        return None


async def keep(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table kept as select 7 as n")
    await connection.close()


async def test_a_server_killed_while_serving_comes_back_by_itself_with_what_it_had(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    await server.start()
    supervisor = asyncio.create_task(server.supervise())
    try:
        await keep(server.dsn)
        for _ in range(3):
            killed = postmaster(directory)
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            assert await answer_within(server.dsn, 30) == 7
            assert postmaster(directory) != killed
    finally:
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
        await server.stop()
    assert postmaster(directory) is None


async def test_a_killed_user_of_the_server_leaves_nothing_that_blocks_the_next(directory: Path) -> None:
    async with using(directory) as first:
        first.kill()
        await first.wait()
    left_running = postmaster(directory)
    async with using(directory) as second:
        assert postmaster(directory) == left_running
        await leave(second)
    assert postmaster(directory) is None


async def test_the_next_start_succeeds_after_user_and_server_were_killed_together(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    async with using(directory) as first:
        await keep(server.dsn)
        killed = postmaster(directory)
        assert killed is not None
        first.kill()
        os.kill(killed, signal.SIGKILL)
        await first.wait()
    await server.start()
    assert await answer_within(server.dsn, 10) == 7
    await server.stop()


async def test_two_processes_share_the_server_and_the_last_one_stops_it(directory: Path) -> None:
    dsn = EmbeddedPostgres(directory).dsn
    async with using(directory) as first, using(directory) as second:
        await leave(first)
        assert await ask(dsn) == 1
        await leave(second)
    assert postmaster(directory) is None


async def test_two_that_start_and_leave_at_the_same_moment_neither_fail_nor_leave_it_running(directory: Path) -> None:
    async def once() -> None:
        async with using(directory) as process:
            await leave(process)

    for _ in range(3):
        await asyncio.gather(once(), once(), once())
        assert postmaster(directory) is None


async def test_a_path_too_long_for_a_socket_is_served_all_the_same(directory: Path) -> None:
    deep = directory / ("long" * 30) / "postgres"
    assert len(os.fsencode(deep / "run" / ".s.PGSQL.5432")) > SOCKET_LIMIT
    server = EmbeddedPostgres(deep)
    await server.start()
    assert await ask(server.dsn) == 1
    await server.stop()
    assert postmaster(deep) is None
    os.rmdir(server.dsn.partition("host=")[2])


async def test_it_is_durable_and_listens_on_no_port(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    await server.start()
    assert await ask(server.dsn, "show fsync") == "on"
    assert await ask(server.dsn, "show listen_addresses") == ""
    await server.stop()
