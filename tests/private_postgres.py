"""A PostgreSQL of a test's own, of the wheel's programs: to be killed, stopped where it is, lost, and copied."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from myevents.embedded import EmbeddedPostgres
from myevents.embedded.directories import ensure_directory, owners


class PrivatePostgres(EmbeddedPostgres):
    """A server that nobody starts again but the test."""

    async def begin(self) -> None:
        """Start it, empty where it is new."""
        await asyncio.to_thread(self._prepare)
        async with self._alone():
            await asyncio.to_thread(self._programs.copy_if_needed)
            await self._start_server()

    async def begin_as_copy_of(self, primary: PrivatePostgres) -> None:
        """Start it as a replica that follows `primary`."""
        await asyncio.to_thread(self._prepare)
        await asyncio.to_thread(self._programs.copy_if_needed)
        ensure_directory(self._data, self._account, 0o700, owners(self._account))
        code, output = await self._programs.run(
            "pg_basebackup", "-D", str(self._data), "-h", str(primary._sockets()), "-U", "postgres", "-R", "-c", "fast"
        )
        assert code == 0, output
        await self.begin()

    async def end(self) -> None:
        """Stop it."""
        self.resume()
        await self._stop_server()

    async def lose(self) -> None:
        """Stop it, and lose all that it had."""
        await self._stop_server()
        await asyncio.to_thread(shutil.rmtree, self._data)

    def kill(self) -> None:
        """`kill -9`; its children end by themselves."""
        os.kill(self._postmaster(), signal.SIGKILL)

    def pause(self) -> None:
        """Stop all of it where it is: connections stay open, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        with contextlib.suppress(FileNotFoundError):
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, how: signal.Signals) -> None:
        postmaster = self._postmaster()
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for process in (postmaster, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, how)

    def _postmaster(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])


@asynccontextmanager
async def private_postgres(home: Path) -> AsyncIterator[PrivatePostgres]:
    """A server that runs, and is stopped at the end whatever happened to it."""
    server = PrivatePostgres(home)
    await server.begin()
    try:
        yield server
    finally:
        await server.end()


@asynccontextmanager
async def replica_of(primary: PrivatePostgres, home: Path) -> AsyncIterator[PrivatePostgres]:
    """A replica of `primary` that follows it by streaming."""
    server = PrivatePostgres(home)
    try:
        await server.begin_as_copy_of(primary)
        yield server
    finally:
        await server.end()


async def told(server: PrivatePostgres, statement: str) -> object:
    """What the server answers to a statement of its owner."""
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
