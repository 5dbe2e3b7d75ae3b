"""A Redis of a test's own, to be stopped and killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.e2e.served import free_port

needs_redis_server = pytest.mark.skipif(
    not os.environ.get("MYEVENTS_TEST_CACHE_URL") or shutil.which("redis-server") is None,
    reason="MYEVENTS_TEST_CACHE_URL is not set, or redis-server is not there: scripts/servers.sh up redis",
)


class RedisServer:
    """One server on a port of its own, started again on the same; one that is `secure` has TLS and a password."""

    def __init__(self, directory: Path, *, secure: bool = False) -> None:
        self._directory = directory
        self._secure = secure
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        if self._secure:
            return f"rediss://:p%40ss@localhost:{self.port}/2?ssl_ca_certs={self._directory / 'cert.pem'}"
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", "."]
        command += ["--port", "0", "--tls-port"] if self._secure else ["--port"]
        command += [str(self.port)]
        if self._secure:
            make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
            make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
            subprocess.run(make, cwd=self._directory, check=True, capture_output=True, timeout=60)  # noqa: ASYNC221
            command += ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"]
            command += ["--requirepass", "p@ss"]
        with (self._directory / "redis.log").open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                command, cwd=self._directory, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        async with self.client() as client:
            for _ in range(200):
                with suppress(RedisError, OSError):
                    await client.ping()
                    return
                await asyncio.sleep(0.05)
        raise AssertionError((self._directory / "redis.log").read_text())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """A plain client."""
        client = Redis.from_url(self.url)
        try:
            yield client
        finally:
            await client.aclose()

    def signal(self, what: signal.Signals) -> None:
        """Stop it where it is, let it go on, or kill it."""
        assert self._process is not None
        self._process.send_signal(what)
        if what is signal.SIGKILL:
            self._process.wait()

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)


@asynccontextmanager
async def redis_server(directory: Path, *, secure: bool = False) -> AsyncIterator[RedisServer]:
    """A server that is ended at the end."""
    server = RedisServer(directory, secure=secure)
    try:
        await server.start()
        yield server
    finally:
        server.end()
