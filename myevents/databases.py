"""The store and the read models' database: one where nothing else is said, two where they are to fail alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from myevents.keeping import PAUSE, kept_up, running
from myevents.log.store import PASSING
from myevents.settings import Settings
from myevents.store import open_pool
from myevents.telemetry.health import answers
from myevents.telemetry.process import Telemetry
from projector.run import make_first_builds, read_models
from schema.tables import PARTITIONS

_DISCONNECT = 2.5
"""Seconds that databases are given at the end; then whatever waits for one fails."""

QUERY_CONNECTIONS = 12
"""Connections of a process that queries use, to each server that they read; one of them listens for notices."""

_QUERY_SESSION = {"statement_timeout": "2500"}
"""Milliseconds: where a statement's end after 2 s cannot be told to the server, it ends it by itself."""

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ReadDatabase:
    """Where the read models are: a database of its own, or the store's. It may be away, whatever else is there."""

    pool: asyncpg.Pool
    url: str
    """Where queries open connections of their own, so that they take none from those who write."""

    apart: str | None = None
    """Its address where it is not the store's, which is migrated before anybody sees it."""

    async def prepare(self) -> None:
        """Make what it lacks, up to the first builds; raises what a database says that is away."""
        if self.apart is not None:
            await migrate(self.apart)
        await make_first_builds(self.pool, read_models(), PARTITIONS)

    async def prepared(self) -> None:
        """Prepare it, however long it is away."""
        while True:
            try:
                return await self.prepare()
            except PASSING as error:
                _log.warning("read_database_waits", reason=type(error).__name__)
                await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """The store's address, migrated."""
    async with _server(settings.database_url) as dsn:
        await migrate(dsn)
        yield dsn


@asynccontextmanager
async def connections(
    dsn: str,
    *,
    size: int = 24,
    name: str = "database",
    needed: bool = True,
    telemetry: Telemetry | None = None,
    session: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a database, whose use is told under `name`; who needs it is able only while it answers."""
    pool = await open_pool(dsn, size=size, session=session)
    if telemetry is not None:
        telemetry.pools.watch(name, pool)
        if needed:
            telemetry.health.needs(answers(f"the {name}", pool))
        telemetry.health.at_last(_DISCONNECT, pool.terminate)
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()


def query_connections(
    url: str, *, name: str, telemetry: Telemetry | None = None
) -> AbstractAsyncContextManager[asyncpg.Pool]:
    """Open connections for queries alone, few enough to leave the server to those who write."""
    return connections(
        url, size=QUERY_CONNECTIONS, name=name, needed=False, telemetry=telemetry, session=_QUERY_SESSION
    )


@asynccontextmanager
async def read_database(
    settings: Settings,
    store: asyncpg.Pool | None = None,
    telemetry: Telemetry | None = None,
    *,
    store_url: str = "",
) -> AsyncIterator[ReadDatabase]:
    """The read models' database; `store` at `store_url` where both are in one and it is open already."""
    async with AsyncExitStack() as stack:
        if not settings.reads_apart and store is not None:
            yield ReadDatabase(pool=store, url=store_url)
            return
        url = _server(settings.read_database_url) if settings.reads_apart else database(settings)
        dsn = await stack.enter_async_context(url)
        opening = connections(dsn, name="read database", needed=False, telemetry=telemetry)
        pool = await stack.enter_async_context(opening)
        yield ReadDatabase(pool=pool, url=dsn, apart=dsn if settings.reads_apart else None)


@asynccontextmanager
async def databases(
    settings: Settings, telemetry: Telemetry | None = None
) -> AsyncIterator[tuple[asyncpg.Pool, ReadDatabase]]:
    """The store, and the read models' database: on the same connections where they are one."""
    async with (
        database(settings) as dsn,
        connections(dsn, telemetry=telemetry) as store,
        read_database(settings, store, telemetry, store_url=dsn) as reads,
    ):
        yield store, reads


@asynccontextmanager
async def _server(url: str) -> AsyncIterator[str]:
    """A server's address; the embedded one is started, watched, and stopped by the last who uses it."""
    scheme, _, rest = url.partition(":")
    if scheme != "embedded":
        yield url
        return
    server = EmbeddedPostgres(Path(rest))
    try:
        await server.start()
        async with running(kept_up("embedded postgres", server.supervise)):
            yield server.dsn
    finally:
        await server.stop()
