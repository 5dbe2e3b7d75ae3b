"""Wires the services up once, from the settings to what runs, and takes them down in the reverse order.

In one process the sides share connections and the search index; a service of its own opens what it needs of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import structlog
from starlette.types import ASGIApp

from command.forgetting import Forgetting
from command.relay.run import Relay
from command.writer import Writer
from migrations.run import migrate
from myevents.cache.memory import MemoryCache
from myevents.cache.port import Cache
from myevents.cache.redis import RedisCache
from myevents.embedded import EmbeddedPostgres
from myevents.errors import KafkaUnreachable, SettingsError
from myevents.log.kafka import KafkaLog
from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.log.kafka_clients import KafkaError
from myevents.log.port import Log
from myevents.log.store import StoreLog
from myevents.log.topic import ensure_topic
from myevents.model_status import model_statuses
from myevents.search.elastic.address import address_of
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.search.port import SearchBuilds
from myevents.settings import Settings
from myevents.store import open_pool
from myevents.telemetry.commands import CommandMetrics
from myevents.telemetry.health import answers
from myevents.telemetry.process import Telemetry
from myevents.telemetry.read_models import Following, ReadModelMetrics
from myevents.throttling import Rates, Throttled
from projector.heartbeat import NAME as HEARTBEAT
from projector.heartbeat import Heartbeat
from projector.run import NAME as MODELS
from projector.run import Projector
from projector.search import NAME as SEARCH
from projector.search import SearchProjector
from query.answers import Answers
from query.cursors import Cursors
from query.graphql.sdl import sdl
from query.reads import Reads
from query.secrets import kept_secret
from query.versions import take_notices
from schema.tables import PARTITIONS

_PAUSE = 1.0
"""Seconds after which what failed is begun again."""

_REFUSE = 2.0
"""Seconds that commands are given at the end; then those that wait are refused."""

_DISCONNECT = 2.5
"""Seconds that databases are given at the end; then whatever waits for one fails."""

_LOOK = 1.0
"""Seconds that a look at the read models may take."""

_log = structlog.get_logger()


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """A migrated database's address; the embedded server is started, watched, and stopped by the last who uses it."""
    scheme, _, rest = settings.database_url.partition(":")
    if scheme != "embedded":
        await migrate(settings.database_url)
        yield settings.database_url
        return
    server = EmbeddedPostgres(Path(rest))
    try:
        await server.start()
        async with _running(_kept_up("embedded postgres", server.supervise)):
            await migrate(server.dsn)
            yield server.dsn
    finally:
        await server.stop()


@asynccontextmanager
async def connections(
    dsn: str, *, size: int = 24, name: str = "database", telemetry: Telemetry | None = None
) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a migrated database, whose use is told under `name`; who has them needs that it answers."""
    pool = await open_pool(dsn, size=size)
    if telemetry is not None:
        telemetry.pools.watch(name, pool)
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


@asynccontextmanager
async def reading(pool: asyncpg.Pool) -> AsyncIterator[StoreLog]:
    """The log, for one reader: whoever waits for its notices takes them."""
    log = StoreLog(pool, PARTITIONS)
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def search_index(settings: Settings) -> AsyncIterator[SearchBuilds]:
    """The search index, to be read or filled."""
    builds = _builds(settings)
    try:
        yield builds
    finally:
        await builds.close()


def _builds(settings: Settings) -> SearchBuilds:
    scheme, _, rest = settings.search_url.partition(":")
    if scheme == "embedded":
        return EmbeddedBuilds(Path(rest))
    # Its client takes half a second to import, which a laptop need not wait for.
    from myevents.search.elastic.builds import ElasticBuilds

    return ElasticBuilds(address_of(settings.search_url, api_key=settings.search_api_key, ca=settings.search_ca))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[asyncpg.Pool, StoreLog]]:
    """The database and the log in it, the read models' first builds made: for those who look after them."""
    async with database(settings) as dsn, connections(dsn) as pool, reading(pool) as log:
        await Projector(log=log, pool=pool).prepare()
        yield pool, log


def kafka(settings: Settings) -> KafkaAddress:
    """Where Kafka is; raises `SettingsError` where the store is the log."""
    address = kafka_address(settings.log_url)
    if address is None:
        raise SettingsError("There is no Kafka to copy the log to: set MYEVENTS_LOG_URL, as in kafka://host:9092.")
    return address


async def prepare_topic(settings: Settings) -> None:
    """Make the topic where Kafka carries the log and has none; raises `TopicUnfit`, `KafkaUnreachable`."""
    address = kafka_address(settings.log_url)
    if address is not None:
        async with kafka_answers(address):
            await ensure_topic(address, PARTITIONS)


@asynccontextmanager
async def kafka_answers(address: KafkaAddress) -> AsyncIterator[None]:
    """For what is asked of Kafka inside: raises `KafkaUnreachable` where it fails."""
    try:
        yield
    except KafkaError as error:
        raise KafkaUnreachable(f"Kafka does not answer at {', '.join(address.servers)}: {error}") from error


@asynccontextmanager
async def relaying(pool: asyncpg.Pool, settings: Settings) -> AsyncIterator[Relay]:
    """Copy the log into Kafka meanwhile; where Kafka is away, that waits for it. Raises `TopicUnfit`."""
    address = kafka(settings)
    with contextlib.suppress(KafkaUnreachable):
        await prepare_topic(settings)
    async with reading(pool) as log:
        relay = Relay(log=log, pool=pool, address=address)
        async with _running(_kept_up("relay", relay.run)):
            yield relay


@asynccontextmanager
async def command_side(pool: asyncpg.Pool, telemetry: Telemetry | None = None) -> AsyncIterator[Writer]:
    """What records commands; old answers are forgotten beside it."""
    metrics = CommandMetrics(telemetry.registry) if telemetry else None
    async with (
        Writer(pool, PARTITIONS, metrics=metrics) as writer,
        _running(_kept_up("forgetting", Forgetting(pool).run)),
    ):
        if telemetry is not None:
            telemetry.health.at_last(_REFUSE, writer.give_up)
        yield writer


@asynccontextmanager
async def followed(settings: Settings, pool: asyncpg.Pool, *, shared_by: str | None) -> AsyncIterator[Log]:
    """The log, for one follower: through Kafka where that carries it, shared out among those of the same name."""
    address = kafka_address(settings.log_url)
    async with reading(pool) as store:
        if address is None:
            yield store
            return
        group = f"{address.topic}.{shared_by}" if shared_by else None
        log = KafkaLog(store=store, address=address, group=group)
        try:
            yield log
        finally:
            await log.close()


@asynccontextmanager
async def following(
    settings: Settings, pool: asyncpg.Pool, search: SearchBuilds, follows: Following | None = None
) -> AsyncIterator[None]:
    """The read models and the search index follow the log, neither waiting for the other."""
    async with AsyncExitStack() as stack:
        projector_log = await stack.enter_async_context(followed(settings, pool, shared_by="projector"))
        projector = Projector(log=projector_log, pool=pool, following=follows)
        await projector.prepare()
        # One process alone may write an embedded index, so that it needs all partitions, and those that wait need none.
        shared_by = None if settings.search_url.startswith("embedded:") else "search"
        search_log = await stack.enter_async_context(followed(settings, pool, shared_by=shared_by))
        searcher = SearchProjector(log=search_log, pool=pool, builds=search, following=follows)
        heartbeat = Heartbeat(log=projector_log, pool=pool, following=follows)
        for name, run in ((MODELS, projector.run), (SEARCH, searcher.run), (HEARTBEAT, heartbeat.run)):
            await stack.enter_async_context(_running(_kept_up(name, run)))
        yield


async def catch_up(pool: asyncpg.Pool) -> None:
    """Bring the read models up at once, from the store."""
    async with reading(pool) as log:
        await Projector(log=log, pool=pool).catch_up()


def projector_metrics(telemetry: Telemetry) -> Following:
    """What the followers of the log tell of themselves."""
    follows = Following(telemetry.registry)
    follows.expect(MODELS, SEARCH, HEARTBEAT)
    return follows


def read_model_metrics(telemetry: Telemetry, pool: asyncpg.Pool) -> None:
    """Tell how far the read models are, whoever keeps them up."""
    metrics = ReadModelMetrics(telemetry.registry, lambda: model_statuses(pool, timeout=_LOOK))
    telemetry.looks.append(metrics.look)


async def query_side(pool: asyncpg.Pool, settings: Settings) -> Reads:
    """What answers queries; it needs the views that the first builds come with."""
    async with reading(pool) as log:
        await Projector(log=log, pool=pool).prepare()
    return Reads(pool, Cursors(settings.secret.encode() or await kept_secret(pool)))


@asynccontextmanager
async def cache(settings: Settings) -> AsyncIterator[Cache]:
    """What processes share for a while, through Redis where there is one; else this process's own."""
    kept: Cache = MemoryCache() if settings.cache_url.startswith("memory:") else RedisCache(settings.cache_url)
    try:
        yield kept
    finally:
        await kept.close()


def throttle(settings: Settings, shared: Cache) -> Callable[[ASGIApp], ASGIApp]:
    """What keeps each caller to so many requests a minute, where that is asked for."""
    rates = Rates(queries=settings.requests_per_minute, commands=settings.commands_per_minute)
    if rates == Rates():
        return lambda application: application
    # Without a secret that others have too, each process counts by itself.
    secret = settings.secret.encode() or secrets.token_bytes(32)
    return partial(Throttled, cache=shared, rates=rates, secret=secret)


@asynccontextmanager
async def answering(pool: asyncpg.Pool, reads: Reads, settings: Settings, shared: Cache) -> AsyncIterator[Answers]:
    """Answers that were given before; for others too where `shared` is. Nobody else's: of this schema and database."""
    own = b"\n".join((await kept_secret(pool), settings.secret.encode(), sdl().encode()))
    far = None if isinstance(shared, MemoryCache) else shared
    kept = Answers(near=MemoryCache(), far=far, namespace=own)
    try:
        async with _running(_kept_up("notices of read models", partial(take_notices, pool, reads.versions))):
            yield kept
    finally:
        await kept.close()
        await reads.versions.close()


async def _kept_up(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run for ever: what nobody foresaw is told, and tried again after a while; the lag shows it meanwhile."""
    while True:
        try:
            await run()
        except Exception:
            _log.exception("failed", what=name)
        await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do `work` meanwhile."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        # More than once: a lost connection may come instead of the cancellation, and be taken for one that passes.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_PAUSE)
