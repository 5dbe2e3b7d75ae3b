"""A real Elasticsearch for the tests, that of MYEVENTS_TEST_SEARCH_URL: each test has indexes of its own on it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
import pytest

from tests.e2e.served import free_port
from tests.platform.servers import await_silence

_SERVERS = Path(__file__).parents[1] / "scripts" / "servers.sh"
_LACKS = "MYEVENTS_TEST_SEARCH_URL names no Elasticsearch to test on"


@asynccontextmanager
async def search_url_of_its_own() -> AsyncIterator[str]:
    """The server's URL with a prefix that nobody else has; what was made under it is deleted at the end."""
    given = os.environ.get("MYEVENTS_TEST_SEARCH_URL")
    if not given:
        pytest.skip(_LACKS)
    prefix = f"test-{uuid4().hex}"
    try:
        yield urlunsplit(urlsplit(given)._replace(path=f"/{prefix}"))
    finally:
        async with httpx.AsyncClient(base_url=given, timeout=30) as client:
            for name in (
                await client.get(f"/{prefix}-*/_settings", params={"filter_path": "*.settings.index.uuid"})
            ).json():
                (await client.delete(f"/{name}")).raise_for_status()


class PrivateElasticsearch:
    """A server of a test's own, over TLS, with a user and a password: to be killed and started again."""

    PASSWORD: Final = "hush-hush"

    def __init__(self, directory: Path) -> None:
        self._own = directory / "elasticsearch"
        self._port = free_port()
        self._environment = {
            **os.environ,
            "SERVERS_DIR": str(directory),
            "ELASTICSEARCH_PORT": str(self._port),
            "ELASTICSEARCH_PASSWORD": self.PASSWORD,
        }

    @property
    def ca(self) -> str:
        """The file of the authority that vouches for it."""
        return str(self._own / "config" / "tls" / "cert.pem")

    @property
    def url(self) -> str:
        """Where it is, for the one user that it knows."""
        return self.url_of(f"events:{self.PASSWORD}@")

    def url_of(self, who: str) -> str:
        """Where it is, for somebody."""
        return f"https://{who}127.0.0.1:{self._port}/private"

    def start(self) -> None:
        """Start it, again too, and wait until it listens."""
        self._run("up")

    def stop(self) -> None:
        """Stop it."""
        self._run("down")

    def kill(self) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL)
        self.pid_file.unlink()
        await_silence(self._port)

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(int(self.pid_file.read_text()), which)

    @property
    def pid_file(self) -> Path:
        """Where its process is named."""
        return self._own / "pid"

    def _run(self, act: str) -> None:
        subprocess.run([_SERVERS, act, "elasticsearch"], env=self._environment, check=True, timeout=180)


@pytest.fixture(scope="module")
def private_elasticsearch() -> Iterator[PrivateElasticsearch]:
    """One for the tests of a module."""
    if not os.environ.get("MYEVENTS_TEST_SEARCH_URL"):
        pytest.skip(_LACKS)
    with tempfile.TemporaryDirectory() as directory:
        # Where the tests run as root, the server does not, and must be able to enter.
        Path(directory).chmod(0o711)
        server = PrivateElasticsearch(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()
