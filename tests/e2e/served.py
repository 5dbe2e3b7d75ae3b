"""The service as a process of its own, to be asked over HTTP and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

PROGRAM = Path(sys.executable).with_name("myevents")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """One `myevents serve`; may be started again on the same port."""

    def __init__(self, database_url: str, log: Path) -> None:
        search = f"embedded:{log.parent / 'search'}"
        self._environment = {**os.environ, "MYEVENTS_DATABASE_URL": database_url, "MYEVENTS_SEARCH_URL": search}
        self._log = log
        self.port = free_port()
        self._environment["MYEVENTS_PORT"] = str(self.port)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [PROGRAM, "serve"], env=self._environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        async with httpx.AsyncClient() as client:
            for _ in range(600):
                try:
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.05)
        raise AssertionError(self._log.read_text())

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None


@contextmanager
def served(database_url: str, directory: Path) -> Iterator[Served]:
    """A service that is stopped at the end, whatever happened to it."""
    service = Served(database_url, directory / "serve.log")
    try:
        yield service
    finally:
        service.stop()
