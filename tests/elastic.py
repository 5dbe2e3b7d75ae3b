"""A real Elasticsearch for the tests, that of MYEVENTS_TEST_SEARCH_URL: each test has indexes of its own on it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
import pytest

from tests.platform.servers import Servers

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
        self._servers = Servers(directory, "elasticsearch", ELASTICSEARCH_PASSWORD=self.PASSWORD)
        self.ca = str(directory / "elasticsearch" / "config" / "tls" / "cert.pem")
        """The file of the authority that vouches for it."""

    @property
    def url(self) -> str:
        """Where it is, for the one user that it knows."""
        return self.url_of(f"events:{self.PASSWORD}@")

    def url_of(self, who: str) -> str:
        """Where it is, for somebody."""
        return f"https://{who}127.0.0.1:{self._servers.port('elasticsearch')}/private"

    def start(self) -> None:
        """Start it, again too, and wait until it listens."""
        self._servers.start()

    def stop(self) -> None:
        """Stop it."""
        self._servers.stop()

    def kill(self) -> None:
        """`kill -9`."""
        self._servers.kill("elasticsearch")

    def pause(self) -> None:
        """Stop it where it is."""
        self._servers.pause("elasticsearch")

    def resume(self) -> None:
        """Let it go on."""
        self._servers.resume("elasticsearch")


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
