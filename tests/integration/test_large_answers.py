"""An answer has a limit in bytes, and so has what a request reads for it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from myevents.web import ANSWER_BYTES
from projector.run import Projector
from query.reads import ROWS_BYTES
from schema.tables import PARTITIONS
from tests.command_side import an_event, command_side
from tests.query_side import QuerySide, query_side

DESCRIPTION = 60_000
GRAPHQL = {"Accept": "application/graphql-response+json"}


@pytest.fixture
async def queries(database_url: str, tmp_path: Path, stack: AsyncExitStack) -> QuerySide:
    """Who answers of a hundred events that have long descriptions."""
    pool, search = await open_pool(database_url), EmbeddedBuilds(tmp_path / "search")
    stack.push_async_callback(pool.close)
    stack.push_async_callback(search.close)
    projector = Projector(log=StoreLog(pool, PARTITIONS), pool=pool)
    await projector.prepare()
    async with command_side(database_url) as service:
        await an_event(service)
    await projector.catch_up()
    admin = await asyncpg.connect(database_url)
    await admin.execute(f"update read.events_1 set description = repeat('x', {DESCRIPTION})")
    await admin.execute(
        """insert into read.events_1 select (jsonb_populate_record(e, jsonb_build_object('id', 'evt_' || n))).*
           from read.events_1 e, generate_series(101, 199) n"""
    )
    await admin.close()
    return await stack.enter_async_context(query_side(pool, search))


async def test_an_answer_that_would_be_too_large_is_refused(queries: QuerySide) -> None:
    assert 50 * DESCRIPTION < ANSWER_BYTES < 100 * DESCRIPTION
    query = "query($n: Int!) { events(first: $n) { nodes { description } } }"
    refused = await queries.ask(query, GRAPHQL, n=100)
    assert (refused.status_code, "data" in refused.json()) == (400, False)
    assert refused.json()["errors"][0]["extensions"] == {"code": "INVALID_INPUT"}
    assert refused.json()["errors"][0]["message"] == "The answer has more than 4 MiB: ask for less, or in parts."
    assert len((await queries.ask(query, GRAPHQL, n=50)).json()["data"]["events"]["nodes"]) == 50

    rest = await queries.client.get("/api/events?first=100")
    assert (rest.status_code, rest.json()["code"], rest.json()["path"]) == (400, "INVALID_INPUT", ["first"])
    assert len((await queries.client.get("/api/events?first=50")).json()["nodes"]) == 50


async def test_a_request_that_would_read_too_much_is_refused(queries: QuerySide) -> None:
    assert 200 * DESCRIPTION < ROWS_BYTES < 300 * DESCRIPTION
    pages = [f"a{number}: events(first: 100) {{ nodes {{ id }} }}" for number in range(3)]
    refused = (await queries.ask(f"{{ {' '.join(pages)} }}")).json()
    assert refused["data"] is None
    assert refused["errors"][0]["extensions"] == {"code": "INVALID_INPUT"}
    assert refused["errors"][0]["message"].startswith("The request reads more than 16 MiB")
    allowed = (await queries.ask(f"{{ {' '.join(pages[:2])} }}")).json()
    assert [len(page["nodes"]) for page in allowed["data"].values()] == [100, 100]
