"""A query side on a real database as one process has it, asked as over HTTP; its projector steps by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx

from myevents import applications
from myevents.cache.memory import MemoryCache
from myevents.cache.port import Cache
from myevents.search.port import SearchBuilds
from myevents.telemetry.process import Telemetry
from myevents.telemetry.rows import RowsLeftOut
from query.answers import Answers
from query.cursors import Cursors
from query.reads import Reads
from query.sources import Sources

AFRESH = {"Cache-Control": "no-cache"}
"""What makes any answer anew: the oracle of those that are kept."""


class QuerySide:
    """Who answers, and a client of theirs."""

    def __init__(self, client: httpx.AsyncClient, answers: Answers, left_out: RowsLeftOut) -> None:
        self.client = client
        self.answers = answers
        self.left_out = left_out

    async def ask(self, query: str, headers: dict[str, str] | None = None, **variables: Any) -> httpx.Response:
        """The answer to a GraphQL query."""
        return await self.client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)

    def outcome(self, name: str) -> int:
        """How often it came about."""
        return self.answers.outcomes[name]


@asynccontextmanager
async def query_side(
    pool: asyncpg.Pool, search: SearchBuilds, far: Cache | None = None, *, noticing: bool = True
) -> AsyncIterator[QuerySide]:
    """A process of queries on a database that has read models; one that does not notice hears of no checkpoint."""
    sources = Sources(pool)
    reads = Reads(sources, Cursors(b"secret"))
    answers = Answers(near=MemoryCache(), far=far, namespace=b"test")
    listening = asyncio.create_task(sources.listen()) if noticing else None
    transport = httpx.ASGITransport(applications.queries(Telemetry(service="query"), reads, search, answers))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://queries") as client:
            yield QuerySide(client, answers, reads.left_out)
    finally:
        if listening is not None:
            listening.cancel()
            await asyncio.wait({listening})
        await answers.close()
        await sources.close()


async def waits_until(look: Callable[[], Awaitable[object]], value: object, within: float = 1.5) -> None:
    """Wait until `look` returns `value`; fail after `within` seconds."""
    async with asyncio.timeout(within):
        while await look() != value:  # noqa: ASYNC110 - it happens elsewhere
            await asyncio.sleep(0.05)
