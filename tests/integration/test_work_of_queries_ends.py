"""What nobody waits for any more is stopped where it is done: in the event loop, and on the database's server."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack

import asyncpg
import pytest

from myevents.cache.memory import MemoryCache
from myevents.databases import Server, query_connections
from myevents.store import open_pool
from query.answers import Answers, Question
from query.position import Position
from query.reads import Reads
from query.source import Source, Unanswered
from query.sources import STATEMENTS_AT_ONCE, Sources
from query.versions import Versions
from tests.query_side import waits_until

SLEEP = "select pg_sleep(20)"


async def running(url: str, statement: str = SLEEP) -> int:
    """How many sessions work on a statement."""
    connection = await asyncpg.connect(url)
    try:
        found: int = await connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'"
            " and query like $1 and pid <> pg_backend_pid()",
            f"%{statement}%",
        )
    finally:
        await connection.close()
    return found


@pytest.fixture
async def pool(database_url: str, stack: AsyncExitStack) -> asyncpg.Pool:
    """Connections without a limit of their own to a statement's time."""
    made = await open_pool(database_url)
    stack.push_async_callback(made.close)
    return made


async def test_a_statement_whose_time_is_up_is_stopped_on_the_server(database_url: str, pool: asyncpg.Pool) -> None:
    source = Source(pool)
    with pytest.raises(Unanswered):
        await source.fetch(SLEEP, deadline=0.2)
    await waits_until(lambda: running(database_url), 0)
    assert [tuple(row) for row in await source.fetch("select 1")] == [(1,)]


async def test_a_statement_that_nobody_waits_for_is_stopped_on_the_server(
    database_url: str, pool: asyncpg.Pool
) -> None:
    asking = asyncio.create_task(Source(pool).fetch(SLEEP, deadline=15))
    await waits_until(lambda: running(database_url), 1)
    asking.cancel()
    await waits_until(lambda: running(database_url), 0)


async def test_the_server_itself_ends_a_statement_of_queries_after_a_while(database_url: str) -> None:
    server = Server(url=database_url, setting="MYEVENTS_DATABASE_URL")
    async with query_connections(server, name="queries") as queries:
        with pytest.raises(asyncpg.QueryCanceledError):
            await queries.fetch(SLEEP)


async def test_a_request_runs_few_statements_at_a_time(database_url: str, pool: asyncpg.Pool) -> None:
    reading = Sources(pool).one()
    many = asyncio.gather(*(reading.fetch(SLEEP, deadline=15) for _ in range(3 * STATEMENTS_AT_ONCE)))
    await waits_until(lambda: running(database_url), STATEMENTS_AT_ONCE)
    await asyncio.sleep(0.2)
    assert await running(database_url) == STATEMENTS_AT_ONCE
    many.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await many
    await waits_until(lambda: running(database_url), 0)


async def test_an_answer_is_given_up_when_the_last_who_waits_for_it_leaves(pool: asyncpg.Pool) -> None:
    answers = Answers(near=MemoryCache(), namespace=b"test")
    reads = Reads(Sources(pool), None)  # type: ignore[arg-type]
    ended = asyncio.Event()

    async def make() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    def question() -> Question:
        position = Position(reads, None)
        return Question(
            asked=b"x", viewer=None, position=position, versions=Versions(pool.fetch), media_type="text/plain"
        )

    first, second = [asyncio.create_task(answers.answer(question(), make)) for _ in range(2)]  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0.05)
    assert not ended.is_set(), "the second waits on"
    second.cancel()
    async with asyncio.timeout(5):
        await ended.wait()
    await answers.close()
