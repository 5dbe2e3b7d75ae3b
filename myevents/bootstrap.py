"""Wires the services up once, from the settings to what runs, and takes them down in the reverse order.

In one process the sides share connections and the search index; a service of its own opens what it needs of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
from starlette.types import ASGIApp

from command.forgetting import Forgetting
from command.relay.run import Relay
from command.writer import Writer
from myevents.cache.memory import MemoryCache
from myevents.cache.port import Cache
from myevents.cache.redis import RedisCache
from myevents.databases import ReadDatabase, Server, databases, query_connections
from myevents.errors import KafkaUnreachable, Refused, SettingsError
from myevents.keeping import PAUSE, kept_up, running
from myevents.log.kafka import KafkaLog
from myevents.log.kafka_address import KafkaAddress, kafka_address
from myevents.log.kafka_clients import KafkaError
from myevents.log.port import Log
from myevents.log.store import PASSING, StoreLog
from myevents.log.topic import ensure_topic
from myevents.model_status import model_statuses
from myevents.search.elastic.address import address_of
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.search.port import SearchBuilds
from myevents.settings import Settings
from myevents.telemetry.commands import CommandMetrics
from myevents.telemetry.process import Telemetry
from myevents.telemetry.read_models import Following, ReadModelMetrics
from myevents.telemetry.relay import RelayMetrics
from myevents.telemetry.rows import RowsLeftOut
from myevents.throttling import Rates, Throttled
from projector.heartbeat import NAME as HEARTBEAT
from projector.heartbeat import Heartbeat
from projector.run import NAME as MODELS
from projector.run import Projector, read_models, sharing
from projector.search import SearchProjector
from projector.search_registry import NAME as SEARCH
from projector.search_registry import VERSION as SEARCH_VERSION
from query.answers import Answers
from query.cursors import Cursors
from query.graphql.sdl import sdl
from query.reads import Reads
from query.secrets import kept_secret, known_secret
from query.sources import Sources
from schema.tables import PARTITIONS

_FIRST = 3.0
"""Seconds that a start waits for the read models' database; after that it is waited for beside what works without."""

_LEAVING = 6.0
"""Seconds that a relay takes at most to hand its partitions over."""

_REFUSE = 2.0
"""Seconds that commands are given at the end; then those that wait are refused."""

_LOOK = 1.0
"""Seconds that a look at the read models may take."""


@asynccontextmanager
async def reading(store: asyncpg.Pool) -> AsyncIterator[StoreLog]:
    """The log, for one reader: whoever waits for its notices takes them."""
    log = StoreLog(store, PARTITIONS)
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
async def opened(settings: Settings) -> AsyncIterator[tuple[asyncpg.Pool, asyncpg.Pool, StoreLog]]:
    """The store, the read models with their first builds, and the log: for those who look after them."""
    async with databases(settings) as (store, reads), reading(store) as log:
        await reads.prepare()
        yield store, reads.pool, log


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
async def relaying(store: asyncpg.Pool, settings: Settings, telemetry: Telemetry) -> AsyncIterator[Relay]:
    """Copy the log into Kafka meanwhile; where Kafka is away, that waits for it. Raises `TopicUnfit`."""
    address = kafka(settings)
    with contextlib.suppress(KafkaUnreachable):
        await prepare_topic(settings)
    async with reading(store) as log:
        relay = Relay(log=log, pool=store, address=address)
        telemetry.registry.register(RelayMetrics(lambda: relay.status))
        async with running(kept_up("relay", relay.run), patience=_LEAVING):
            yield relay


@asynccontextmanager
async def command_side(store: asyncpg.Pool, telemetry: Telemetry | None = None) -> AsyncIterator[Writer]:
    """What records commands; old answers are forgotten beside it."""
    metrics = CommandMetrics(telemetry.registry) if telemetry else None
    tracing = telemetry.tracing if telemetry else None
    async with (
        Writer(store, PARTITIONS, metrics=metrics, tracing=tracing) as writer,
        running(kept_up("forgetting", Forgetting(store).run)),
    ):
        if telemetry is not None:
            telemetry.health.at_last(_REFUSE, writer.give_up)
        yield writer


@asynccontextmanager
async def followed(
    settings: Settings, store: asyncpg.Pool, follows: Following, *, shared_by: str | None
) -> AsyncIterator[Log]:
    """The log, for one follower: through Kafka where that carries it, shared out among those of the same name."""
    address = kafka_address(settings.log_url)
    async with reading(store) as kept:
        if address is None:
            yield kept
            return
        group = f"{address.topic}.{shared_by}" if shared_by else None
        log = KafkaLog(store=kept, address=address, group=group, irregular=follows.irregular)
        try:
            yield log
        finally:
            await log.close()


@asynccontextmanager
async def following(
    settings: Settings,
    store: asyncpg.Pool,
    reads: ReadDatabase,
    search: SearchBuilds,
    follows: Following,
) -> AsyncIterator[None]:
    """The read models and the search index follow the log, neither waiting for the other."""
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(followed(settings, store, follows, shared_by=sharing(read_models())))
        projector = Projector(log=log, pool=reads.pool, following=follows)
        # One process alone may write an embedded index, so that it needs all partitions, and those that wait need none.
        shared_by = None if settings.search_url.startswith("embedded:") else f"search.{SEARCH_VERSION}"
        search_log = await stack.enter_async_context(followed(settings, store, follows, shared_by=shared_by))
        searcher = SearchProjector(log=search_log, pool=reads.pool, builds=search, following=follows)
        heartbeat = Heartbeat(log=log, pool=reads.pool, following=follows)
        await _first_of_all(stack, ("read database", reads.prepared))
        for name, run in ((MODELS, projector.run), (SEARCH, searcher.run), (HEARTBEAT, heartbeat.run)):
            await stack.enter_async_context(running(kept_up(name, partial(_once_prepared, reads, run))))
        yield


async def _once_prepared(reads: ReadDatabase, run: Callable[[], Awaitable[None]]) -> None:
    # Each time anew: what comes back may be an empty database in place of one that was lost.
    await reads.prepared()
    await run()


async def catch_up(store: asyncpg.Pool, reads: ReadDatabase) -> None:
    """Bring the read models up at once, from the store."""
    async with reading(store) as log:
        await Projector(log=log, pool=reads.pool).catch_up()


def projector_metrics(telemetry: Telemetry) -> Following:
    """What the followers of the log tell of themselves."""
    follows = Following(telemetry.registry, telemetry.tracing)
    follows.expect(MODELS, SEARCH, HEARTBEAT)
    return follows


def read_model_metrics(telemetry: Telemetry, pool: asyncpg.Pool) -> None:
    """Tell how far the read models are, whoever keeps them up."""
    metrics = ReadModelMetrics(telemetry.registry, lambda: model_statuses(partial(pool.fetch, timeout=_LOOK)))
    telemetry.looks.append(metrics.look)


@asynccontextmanager
async def query_side(
    reads: ReadDatabase, settings: Settings, telemetry: Telemetry | None = None
) -> AsyncIterator[Reads]:
    """What answers queries, or says that they cannot be answered now, until the databases that it needs are there."""
    async with AsyncExitStack() as stack:
        primary, *replicas = [
            await stack.enter_async_context(query_connections(server, name=name, telemetry=telemetry))
            for name, server in (
                ("queries", reads.server),
                *(
                    (f"read replica {number}", Server(url=url, setting="MYEVENTS_READ_REPLICA_URL"))
                    for number, url in enumerate(settings.read_replica_urls, start=1)
                ),
            )
        ]
        left_out = RowsLeftOut(telemetry.registry if telemetry else None)
        side = Reads(Sources(primary, replicas), Cursors(settings.secret.encode()), left_out=left_out)

        async def sign() -> None:
            if not side.cursors.known:
                side.cursors.sign_with(await _secret(reads, side.sources))

        await stack.enter_async_context(running(kept_up("replicas", side.sources.watch)))
        await _first_of_all(stack, ("read database", reads.prepared), ("secret of cursors", sign))
        yield side


@asynccontextmanager
async def cache(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Cache]:
    """What processes share for a while, through Redis where there is one; else this process's own."""
    kept: Cache = MemoryCache() if settings.cache_url.startswith("memory:") else RedisCache(settings.cache_url)
    if isinstance(kept, RedisCache):
        telemetry.caches.watch("redis", kept.outcomes)
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
async def answering(
    reads: ReadDatabase, side: Reads, settings: Settings, shared: Cache, telemetry: Telemetry
) -> AsyncIterator[Answers]:
    """Answers that were given before; for others too where `shared` is. Nobody else's: of this schema and database."""
    far = None if isinstance(shared, MemoryCache) else shared
    answers = Answers(near=MemoryCache(), far=far)
    telemetry.caches.watch("answers", answers.outcomes)

    async def own() -> None:
        secret = await _secret(reads, side.sources)
        answers.belong_to(b"\n".join((secret, settings.secret.encode(), sdl().encode())))

    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(kept_up("notices of read models", side.sources.listen)))
            await _first_of_all(stack, ("secret of answers", own))
            yield answers
    finally:
        await answers.close()
        await side.sources.close()


async def _secret(reads: ReadDatabase, sources: Sources) -> bytes:
    """The read models' own secret: found on any server, or made once their own database lets us."""
    while True:
        with contextlib.suppress(Refused):
            if secret := await known_secret(sources.one()):
                return secret
        with contextlib.suppress(*PASSING, asyncpg.PostgresError):
            return await kept_secret(reads.pool)
        await asyncio.sleep(PAUSE)


async def _first_of_all(stack: AsyncExitStack, *steps: tuple[str, Callable[[], Awaitable[None]]]) -> None:
    """Begin what is needed first, and wait for it a while; after that it goes on beside what works without."""
    begun = [await stack.enter_async_context(running(kept_up(name, step, once=True))) for name, step in steps]
    await asyncio.wait(begun, timeout=_FIRST)
