"""The services as processes of their own, to be asked over HTTP and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
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


async def until(probe: Callable[[], Awaitable[object]], within: float = 30) -> None:
    """Wait until `probe` answers with something true, at most `within` seconds."""
    async with asyncio.timeout(within):
        while not await probe():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.1)


def environment(database_url: str, directory: Path) -> dict[str, str]:
    """What a process is told whose database is given, and whose search index is in `directory`."""
    search = f"embedded:{directory / 'search'}"
    return {
        **os.environ,
        "MYEVENTS_DATABASE_URL": database_url,
        "MYEVENTS_SEARCH_URL": search,
        "MYEVENTS_METRICS_PORT": "0",
        "MYEVENTS_STOP_DELAY": "0",
    }


_SAID = {"projector": b"follow the log", "relay": b"is copied into Kafka"}
"""What services say when they are ready that have no port by default."""


class Served:
    """One `myevents serve`, or another service; may be started again on the same port."""

    def __init__(
        self, database_url: str, log: Path, service: str = "serve", settings: Mapping[str, str] | None = None
    ) -> None:
        self._service = service
        self._log = log
        self._environment = environment(database_url, log.parent) | dict(settings or {})
        self.listen_on(free_port())
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0

    def listen_on(self, port: int) -> None:
        """Take another port from the next start on."""
        self.port = port
        self._environment["MYEVENTS_PORT"] = str(port)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._told = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [PROGRAM, self._service], env=self._environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        async with httpx.AsyncClient() as client:
            for _ in range(600):
                if await self._ready(client):
                    return
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.05)
        raise AssertionError(self._log.read_text())

    async def _ready(self, client: httpx.AsyncClient) -> bool:
        if self._service in _SAID:
            return _SAID[self._service] in self._log.read_bytes()[self._told :]
        try:
            return (await client.get(f"{self.url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        """What it has written since its last start."""
        return self._log.read_bytes()[self._told :].decode()

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop it where it is, as on a machine that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def send(self, number: signal.Signals, seconds: float) -> int:
        """Send a signal and return the exit code; raises `TimeoutExpired` where it still runs after `seconds`."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(seconds)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, or another signal, and wait; its exit code."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(how)
        return process.wait(30)


@contextmanager
def served(
    database_url: str, directory: Path, service: str = "serve", settings: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A service that is stopped at the end, whatever happened to it."""
    process = Served(database_url, directory / f"{service}.log", service, settings)
    try:
        yield process
    finally:
        process.stop()
