"""A real Elasticsearch for the tests, that of MYEVENTS_TEST_SEARCH_URL: each test has indexes of its own on it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
import pytest

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
