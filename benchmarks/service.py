"""A process to measure over HTTP."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.e2e.served import free_port


@asynccontextmanager
async def service(program: list[str], dsn: str, search: str | None = None) -> AsyncIterator[int]:
    """The port at which a Python program on this database is ready; it is stopped at the end.

    `search` is where its search index is; without it, in a directory that is removed.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as made:
        environment = {
            **os.environ,
            "MYEVENTS_DATABASE_URL": dsn,
            "MYEVENTS_SEARCH_URL": search or f"embedded:{made}",
            "MYEVENTS_PORT": str(port),
            "MYEVENTS_METRICS_PORT": "0",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await _ready(port)
            yield port
        finally:
            process.terminate()
            await process.wait()


async def _ready(port: int) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(600):
            try:
                await client.get(f"http://127.0.0.1:{port}/readyz")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    raise TimeoutError("the service did not come up")
