"""The store and the read models' database: one where nothing else is said, two where they are to fail alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

from migrations.run import MayNotMigrate, migrate
from myevents.embedded import EmbeddedPostgres
from myevents.errors import NotMigrated, SettingsError
from myevents.keeping import PAUSE, kept_up, running
from myevents.log.store import PASSING
from myevents.settings import Settings
from myevents.store import open_pool
from myevents.telemetry.health import answers
from myevents.telemetry.process import Telemetry
from projector.run import make_first_builds, read_models
from query.secrets import kept_secret
from schema.sessions import SESSION_SETTINGS
from schema.tables import APP_ROLE, PARTITIONS, QUERY_ROLE, SERVICE_ROLES

_DISCONNECT = 2.5
"""Seconds that databases are given at the end; then whatever waits for one fails."""

CONNECTIONS = 24
"""Connections of a service to a database."""

UPKEEP_CONNECTIONS = 4
"""Connections of a query service beside those of queries: for its metrics, its readiness and its secret."""

QUERY_CONNECTIONS = 12
"""Connections of a process that queries use, to each server that they read; one of them listens for notices."""

_QUERY_SESSION = {"statement_timeout": "2500"}
"""Milliseconds: the server ends a statement by itself where our cancelling it after 2 s does not arrive."""
_LOGIN_TIMEOUT_SECONDS = 10.0

_NOT_MIGRATED = (
    "{} names a database that is not up to date, and a login that may not mend it: let its owner run `migrate`."
)

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Server:
    """A database, and how the services log in there."""

    url: str
    """Of the login that was given; of the superuser where the server is embedded. It migrates where it may."""

    setting: str
    """The setting that names the database."""

    embedded: EmbeddedPostgres | None = None

    def url_of(self, role: str) -> str:
        """Return how to log in as `role` where the server is ours; else how the operator has us log in."""
        return self.embedded.dsn_of(role) if self.embedded and role in SERVICE_ROLES else self.url

    async def migrate(self, role: str) -> None:
        """Bring the schema up to date, and see that the services' login may act as `role`.

        Raises `NotMigrated`, `SettingsError`, and what a database says that is away.
        """
        try:
            await migrate(self.url)
        except MayNotMigrate:
            raise NotMigrated(_NOT_MIGRATED.format(self.setting)) from None
        connection = await asyncpg.connect(
            self.url_of(role), timeout=_LOGIN_TIMEOUT_SECONDS, server_settings=dict(SESSION_SETTINGS)
        )
        try:
            rows = await connection.fetch("select session_user, pg_has_role(session_user, $1, 'member')", role)
        finally:
            await connection.close(timeout=_LOGIN_TIMEOUT_SECONDS)
        login, allowed = rows[0]
        if not allowed:
            raise SettingsError(f"{self.setting} logs in as {login}, which may not act as {role}.")


@dataclass(frozen=True, kw_only=True)
class ReadDatabase:
    """Where the read models are: a database of its own, or the store's. It may be away, whatever else is there."""

    pool: asyncpg.Pool
    server: Server
    role: str
    apart: bool
    """Whether it is not the store's, which is migrated before anybody sees it."""

    async def prepare(self) -> None:
        """Make what it lacks, up to the first builds; raises `NotMigrated`, and what a database says that is away."""
        if self.apart:
            await self.server.migrate(self.role)
        try:
            await _fill(self.pool)
        except asyncpg.InsufficientPrivilegeError:
            await self._fill_as_owner()

    async def prepared(self) -> None:
        """Prepare it, however long it is away."""
        while True:
            try:
                return await self.prepare()
            except PASSING as error:
                _log.warning("read_database_waits", reason=type(error).__name__)
            except NotMigrated as error:
                # An empty one in place of one that was lost, perhaps: its owner will see to it.
                _log.warning("read_database_waits", reason=str(error))
            await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE)

    async def _fill_as_owner(self) -> None:
        try:
            async with connections(self.server, size=1) as pool:
                await _fill(pool)
        except asyncpg.InsufficientPrivilegeError:
            raise NotMigrated(_NOT_MIGRATED.format(self.server.setting)) from None


async def _fill(pool: asyncpg.Pool) -> None:
    """Make the first builds and the secret where there are none; any role may find that nothing is missing."""
    await make_first_builds(pool, read_models(), PARTITIONS)
    await kept_secret(pool)


@asynccontextmanager
async def database(settings: Settings, role: str = APP_ROLE) -> AsyncIterator[Server]:
    """The store, migrated, for who acts as `role`."""
    async with _server(settings.database_url, "MYEVENTS_DATABASE_URL") as server:
        await server.migrate(role)
        yield server


@asynccontextmanager
async def connections(
    server: Server,
    *,
    role: str = APP_ROLE,
    size: int = CONNECTIONS,
    name: str = "database",
    needed: bool = True,
    telemetry: Telemetry | None = None,
    session: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a database, whose use is told under `name`; who needs it is able only while it answers."""
    pool = await open_pool(server.url_of(role), role=role, size=size, session=session)
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
    server: Server, *, name: str, telemetry: Telemetry | None = None
) -> AbstractAsyncContextManager[asyncpg.Pool]:
    """Open connections for queries alone, few enough to leave the server to those who write."""
    return connections(
        server,
        role=QUERY_ROLE,
        size=QUERY_CONNECTIONS,
        name=name,
        needed=False,
        telemetry=telemetry,
        session=_QUERY_SESSION,
    )


@asynccontextmanager
async def read_database(
    settings: Settings,
    *,
    role: str = APP_ROLE,
    store: Server | None = None,
    pool: asyncpg.Pool | None = None,
    size: int = CONNECTIONS,
    name: str = "read database",
    telemetry: Telemetry | None = None,
) -> AsyncIterator[ReadDatabase]:
    """The read models' database, for who acts as `role`.

    Where it is the store's: `store` if that is open already, and `pool` if there are connections of that role to it.
    """
    async with AsyncExitStack() as stack:
        reads: AbstractAsyncContextManager[Server]
        if settings.reads_apart:
            reads, pool = _server(settings.read_database_url, "MYEVENTS_READ_DATABASE_URL"), None
        else:
            reads = nullcontext(store) if store else database(settings, role)
        server = await stack.enter_async_context(reads)
        if pool is None:
            opening = connections(server, role=role, size=size, name=name, needed=False, telemetry=telemetry)
            pool = await stack.enter_async_context(opening)
        yield ReadDatabase(pool=pool, server=server, role=role, apart=settings.reads_apart)


@asynccontextmanager
async def databases(
    settings: Settings, role: str = APP_ROLE, telemetry: Telemetry | None = None
) -> AsyncIterator[tuple[asyncpg.Pool, ReadDatabase]]:
    """The store, and the read models' database: on the same connections where they are one."""
    async with (
        database(settings, role) as server,
        connections(server, role=role, telemetry=telemetry) as store,
        read_database(settings, role=role, store=server, pool=store, telemetry=telemetry) as reads,
    ):
        yield store, reads


@asynccontextmanager
async def _server(url: str, setting: str) -> AsyncIterator[Server]:
    """A server; the embedded one is started, watched, and stopped by the last who uses it."""
    scheme, _, rest = url.partition(":")
    if scheme != "embedded":
        yield Server(url=url, setting=setting)
        return
    embedded = EmbeddedPostgres(Path(rest))
    try:
        await embedded.start()
        async with running(kept_up("embedded postgres", embedded.supervise)):
            yield Server(url=embedded.dsn, setting=setting, embedded=embedded)
    finally:
        await embedded.stop()
