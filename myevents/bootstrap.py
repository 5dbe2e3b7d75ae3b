"""Wires the services up once: pools, writer, projector and routes, and takes them down in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from command.app import command_routes
from command.openapi import openapi as command_openapi
from command.service import CommandService
from command.writer import Writer
from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.search.port import SearchBuilds
from myevents.settings import Settings
from myevents.store import open_pool
from myevents.web import as_problem
from projector.run import Projector
from projector.search import SearchProjector
from query.app import query_routes
from query.cursors import Cursors
from query.reads import Reads
from query.rest import openapi as query_openapi
from schema.tables import PARTITIONS

_PAGE = """<!doctype html><meta charset="utf-8"><title>MyEvents</title>
<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>
<h1>MyEvents</h1><p>The service runs. It answers at:</p><ul>
<li><a href="/api/events">/api/events</a> and <a href="/api/locations">/api/locations</a>: REST</li>
<li><code>/graphql</code>: queries; <code>/command</code>: mutations</li>
<li><a href="/api/openapi.json">/api/openapi.json</a>: what REST takes and gives</li></ul>"""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a process has running."""

    pool: asyncpg.Pool
    log: StoreLog
    service: CommandService
    writer: Writer
    projector: Projector
    reads: Reads
    search: SearchBuilds
    searcher: SearchProjector


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """A migrated database's address; the embedded server is started, watched, and stopped at the end."""
    scheme, _, rest = settings.database_url.partition(":")
    if scheme != "embedded":
        await migrate(settings.database_url)
        yield settings.database_url
        return
    server = EmbeddedPostgres(Path(rest))
    await server.start()
    watch = asyncio.create_task(server.supervise())
    try:
        await migrate(server.dsn)
        yield server.dsn
    finally:
        await _ended(watch)
        await server.stop()


@asynccontextmanager
async def parts(dsn: str, settings: Settings, *, following: bool = True) -> AsyncIterator[Parts]:
    """All services in one process on one database; `following` runs the projector too."""
    async with AsyncExitStack() as stack:
        pool = await open_pool(dsn, size=24)
        stack.push_async_callback(_closed, pool)
        log = StoreLog(pool, PARTITIONS)
        stack.push_async_callback(log.close)
        writer = await stack.enter_async_context(Writer(pool, PARTITIONS))
        projector = Projector(log=log, pool=pool)
        await projector.prepare()
        search = EmbeddedBuilds(Path(settings.search_url.partition(":")[2]))
        stack.push_async_callback(search.close)
        # A log of its own, for whoever waits on one takes its notices.
        search_log = StoreLog(pool, PARTITIONS)
        stack.push_async_callback(search_log.close)
        searcher = SearchProjector(log=search_log, pool=pool, builds=search)
        if following:
            stack.push_async_callback(_ended, asyncio.create_task(projector.run()))
            stack.push_async_callback(_ended, asyncio.create_task(searcher.run()))
        # Without a secret of one's own, cursors last as long as the process.
        reads = Reads(pool, Cursors(settings.secret.encode() or secrets.token_bytes(32)))
        yield Parts(
            pool=pool,
            log=log,
            service=CommandService(writer),
            writer=writer,
            projector=projector,
            reads=reads,
            search=search,
            searcher=searcher,
        )


def application(running: Parts) -> Starlette:
    """Everything over HTTP."""

    async def ready(_: Request) -> Response:
        try:
            await running.pool.fetchval("select 1", timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return Response("the database does not answer\n", 503)
        return Response("ready\n")

    async def alive(_: Request) -> Response:
        return Response("alive\n")

    async def page(_: Request) -> Response:
        return HTMLResponse(_PAGE)

    async def described(_: Request) -> Response:
        return Response(msgspec.json.encode(openapi()), media_type="application/json")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/api/openapi.json", described),
            *command_routes(running.service),
            *query_routes(running.reads, running.search),
        ],
        exception_handlers={HTTPException: as_problem},
    )


def openapi() -> dict[str, object]:
    """OpenAPI 3.1 of all of REST."""
    commands, queries = command_openapi(), query_openapi()
    paths: dict[str, dict[str, object]] = {}
    for part in (queries, commands):
        for path, operations in part["paths"].items():
            paths.setdefault(path, {}).update(operations)
    return {
        "openapi": "3.1.0",
        "info": {"title": "MyEvents", "version": "0.1.0"},
        "paths": paths,
        "components": commands["components"],
    }


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _closed(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()
