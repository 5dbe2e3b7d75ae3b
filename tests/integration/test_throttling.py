"""Who asks too often is told when to come back; nobody else notices."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from myevents.cache.memory import MemoryCache
from myevents.cache.port import Cache
from myevents.cache.redis import RedisCache
from myevents.throttling import Rates, Throttled

REDIS = os.environ.get("MYEVENTS_TEST_CACHE_URL", "")
needs_redis = pytest.mark.skipif(not REDIS, reason="MYEVENTS_TEST_CACHE_URL is not set: scripts/servers.sh up redis")
EVERY_PATH = ["/", "/healthz", "/graphql", "/command", "/api/openapi.json", "/api/events", "/api/events/evt_a/bookings"]


def application() -> ASGIApp:
    """One that says yes to everything."""

    async def yes(_: object) -> PlainTextResponse:
        return PlainTextResponse("yes")

    return Starlette(routes=[Route(path, yes, methods=["GET", "POST", "DELETE"]) for path in EVERY_PATH])


def throttled(cache: Cache, *, queries: int = 5, commands: int = 3) -> Throttled:
    """One process of that application, whose callers are kept to so many requests."""
    return Throttled(application(), cache=cache, rates=Rates(queries=queries, commands=commands), secret=b"secret")


@pytest.fixture
def clocked() -> tuple[MemoryCache, list[float]]:
    """A cache, and what its clock says."""
    now = [600.0]
    return MemoryCache(clock=lambda: now[0]), now


async def statuses(
    app: Throttled, path: str, times: int, *, method: str = "GET", address: str = "192.0.2.1", **headers: str
) -> list[int]:
    """What a caller is answered, one time after the other."""
    return [(await sent(app, path, method, address, **headers)).status_code for _ in range(times)]


async def sent(
    app: Throttled, path: str, method: str = "GET", address: str = "192.0.2.1", **headers: str
) -> httpx.Response:
    """The answer to one request."""
    transport = httpx.ASGITransport(app, client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.request(method, path, headers={"MyEvents-User": headers["user"]} if headers else {})


async def test_the_one_too_many_is_refused_and_says_when_to_come_back(clocked: tuple[MemoryCache, list[float]]) -> None:
    cache, now = clocked
    app = throttled(cache)
    assert await statuses(app, "/api/events", 5) == [200] * 5
    refused = await sent(app, "/api/events")
    problem = refused.json()
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert (problem["status"], problem["code"]) == (429, "OVERLOADED")
    assert app.refused == {"queries": 1, "commands": 0}
    wait = int(refused.headers["retry-after"])
    assert 1 <= wait <= 60
    now[0] += 60 + wait
    assert await statuses(app, "/api/events", 1) == [200]


async def test_graphql_is_refused_as_graphql(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0])
    for path, method, times in (("/graphql", "POST", 5), ("/command", "POST", 3)):
        assert await statuses(app, path, times, method=method) == [200] * times
        refused = await sent(app, path, method)
        error: dict[str, Any] = refused.json()["errors"][0]
        assert (refused.status_code, error["extensions"]["code"]) == (429, "OVERLOADED")
        assert refused.headers["retry-after"] == str(error["extensions"]["retryAfter"])


async def test_callers_queries_and_commands_are_counted_apart(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0])
    assert await statuses(app, "/graphql", 6, method="POST") == [200] * 5 + [429]
    assert await statuses(app, "/graphql", 1, method="POST", address="192.0.2.2") == [200]
    assert await statuses(app, "/graphql", 6, method="POST", user="usr_ann") == [200] * 5 + [429]
    assert await statuses(app, "/graphql", 1, address="192.0.2.9", user="usr_ann") == [429], "wherever she is"
    assert await statuses(app, "/graphql", 1, user="usr_ben") == [200]
    assert await statuses(app, "/api/events/evt_a/bookings", 4, method="POST", user="usr_ann") == [200] * 3 + [429]
    assert await statuses(app, "/command", 1, method="POST", user="usr_ann") == [429]
    # A header that names nobody makes nobody of it.
    assert await statuses(app, "/graphql", 1, user="no such id!") == [429]


async def test_health_and_pages_are_always_answered(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0], queries=1, commands=1)
    for path in ("/healthz", "/", "/api/openapi.json"):
        assert await statuses(app, path, 20) == [200] * 20
    assert await statuses(app, "/api/events", 2) == [200, 429]


async def test_without_a_limit_there_is_none(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0], queries=0, commands=1)
    assert set(await statuses(app, "/api/events", 200)) == {200}
    assert await statuses(app, "/command", 2, method="POST") == [200, 429]


async def test_one_network_of_ipv6_is_one_caller(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0], queries=2)
    addresses = ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8:0:1::1")
    answers = [await statuses(app, "/graphql", 1, address=address) for address in addresses]
    assert answers == [[200], [200], [429], [200]]


@needs_redis
async def test_processes_that_share_a_cache_count_together_and_keep_no_address() -> None:
    prefix = b"test:%s:" % uuid4().hex.encode()
    caches = [RedisCache(REDIS, prefix) for _ in range(2)]
    try:
        one, other = (throttled(cache, queries=6) for cache in caches)
        answers = await statuses(one, "/api/events", 3) + await statuses(other, "/api/events", 3)
        assert answers == [200] * 6
        assert await statuses(other, "/api/events", 1) == [429]
        kept = [key async for key in caches[0]._redis.scan_iter(prefix + b"*")]
        assert kept
        assert not any(b"192.0.2" in key for key in kept)
        for key in kept:
            await caches[0]._redis.delete(key)
    finally:
        for cache in caches:
            await cache.close()


@pytest.fixture
async def nowhere() -> AsyncIterator[RedisCache]:
    """A cache whose server is not there."""
    cache = RedisCache("redis://127.0.0.1:1")
    yield cache
    await cache.close()


async def test_a_process_whose_cache_is_away_counts_by_itself(nowhere: RedisCache) -> None:
    app = throttled(nowhere)
    assert await statuses(app, "/api/events", 7) == [200] * 5 + [429] * 2
