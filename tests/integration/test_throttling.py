"""Who asks too often is told when to come back; nobody else notices."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from myevents import applications
from myevents.cache.memory import MemoryCache
from myevents.cache.port import Cache
from myevents.cache.redis import RedisCache
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from myevents.telemetry.process import Telemetry
from myevents.throttling import Rates, Throttled, rate_class
from query.answers import Answers
from query.cursors import Cursors
from query.reads import Reads
from query.sources import Sources
from tests.command_side import command_side, facts_in_log

REDIS = os.environ.get("MYEVENTS_TEST_CACHE_URL", "")
needs_redis = pytest.mark.skipif(not REDIS, reason="MYEVENTS_TEST_CACHE_URL is not set: scripts/servers.sh up redis")
EVERY_PATH = [
    "/",
    "/healthz",
    "/readyz",
    "/graphql",
    "/command",
    "/api/openapi.json",
    "/api/events",
    "/api/events/evt_a/bookings",
]


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
    at_home = {"address": "192.0.2.3", "user": "usr_ann"}
    assert await statuses(app, "/graphql", 6, method="POST", **at_home) == [200] * 5 + [429]
    assert await statuses(app, "/graphql", 1, address="192.0.2.9", user="usr_ann") == [429], "wherever she is"
    assert await statuses(app, "/graphql", 1, address="192.0.2.9", user="usr_ben") == [200]
    assert await statuses(app, "/api/events/evt_a/bookings", 4, method="POST", **at_home) == [200] * 3 + [429]
    assert await statuses(app, "/command", 1, method="POST", **at_home) == [429]
    # A header that names nobody makes nobody of it.
    assert await statuses(app, "/graphql", 1, user="no such id!") == [429]


async def test_an_address_is_counted_whoever_it_says_to_be(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0], commands=5)
    answers = [(await sent(app, "/command", "POST", user=f"usr_{n}")).status_code for n in range(200)]
    assert answers == [200] * 5 + [429] * 195
    assert await statuses(app, "/command", 1, method="POST", address="192.0.2.2", user="usr_0") == [200]


async def test_reading_from_the_commands_counts_as_a_command(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0], commands=2)
    answers = [(await sent(app, "/command", method)).status_code for method in ("GET", "HEAD", "GET", "HEAD", "POST")]
    assert answers == [200, 200, 429, 429, 429]


async def test_only_health_is_always_answered(clocked: tuple[MemoryCache, list[float]]) -> None:
    app = throttled(clocked[0], queries=1, commands=1)
    for path in ("/healthz", "/readyz"):
        assert await statuses(app, path, 20) == [200] * 20
    assert await statuses(app, "/api/events", 2) == [200, 429]
    assert await statuses(app, "/none", 1, address="192.0.2.2") == [404]
    assert await statuses(app, "/", 1, address="192.0.2.2") == [429]


QUERIES, COMMANDS = "queries", "commands"
CLASSES = {
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/"): QUERIES,
    ("GET", "/api/openapi.json"): QUERIES,
    ("GET", "/graphiql/{file}"): QUERIES,
    ("GET", "/graphql"): QUERIES,
    ("POST", "/graphql"): QUERIES,
    ("GET", "/command"): COMMANDS,
    ("POST", "/command"): COMMANDS,
}


async def test_every_route_of_the_application_counts_for_a_rate(database_url: str, tmp_path: Path) -> None:
    found: list[Starlette] = []

    def keep(inner: ASGIApp) -> ASGIApp:
        assert isinstance(inner, Starlette)
        found.append(inner)
        return inner

    pool = await open_pool(database_url)
    search = EmbeddedBuilds(tmp_path / "search")
    async with command_side(database_url) as service:
        reads = Reads(Sources(pool), Cursors(b"secret"))
        answers = Answers(near=MemoryCache())
        applications.everything(Telemetry(service="serve"), service, reads, search, answers, keep)
    await search.close()
    await pool.close()
    routes = [route for route in found[0].routes if isinstance(route, Route)]
    assert len(routes) == len(found[0].routes) > 15
    for route in routes:
        for method in route.methods or ():
            counted = rate_class({"type": "http", "method": method, "path": route.path})
            usual = QUERIES if method in ("GET", "HEAD") else COMMANDS
            known = CLASSES.get(("GET" if method == "HEAD" else method, route.path), usual)
            assert counted == known, (method, route.path)
            assert counted is not None or route.path in ("/healthz", "/readyz")


SPREAD = (
    "mutation M($no: Boolean!) { ...F ... on Mutation { c: publishEvent(id: 3) { errors { code } } } "
    "d: publishEvent(id: 4) @include(if: $no) { errors { code } } __typename } "
    "fragment F on Mutation { a: publishEvent(id: 1) { errors { code } } b: publishEvent(id: 2) { errors { code } } }"
)


async def test_each_mutation_of_a_request_is_charged_before_any_is_run(database_url: str) -> None:
    cache = MemoryCache(clock=lambda: 600.0)
    async with command_side(database_url) as service:

        def wrap(inner: ASGIApp) -> ASGIApp:
            return Throttled(inner, cache=cache, rates=Rates(commands=10), secret=b"secret")

        application = applications.commands(Telemetry(service="command"), service, wrap)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://commands") as client:

            async def run(document: str, user: str, **variables: Any) -> httpx.Response:
                body = {"query": document, "variables": variables}
                return await client.post("/command", json=body, headers={"MyEvents-User": user})

            assert (await run(SPREAD, "usr_ann", no=False)).status_code == 200
            assert [(await run("{ health }", "usr_ann")).status_code for _ in range(5)] == [200] * 5
            location = 'createLocation(input: {name: "A", country: "NL"}) { errors { code } }'
            two = await run(f"mutation {{ a: {location} b: {location} }}", "usr_ann")
            assert (two.status_code, "data" in two.json()) == (429, False)
            assert two.json()["errors"][0]["extensions"]["code"] == "OVERLOADED"
            assert int(two.headers["Retry-After"]) >= 1
            assert (await run("{ health }", "usr_ben")).status_code == 429, "from the same address"
            assert await facts_in_log(database_url) == 0


async def test_what_can_never_be_run_at_once_is_told_so(database_url: str) -> None:
    cache = MemoryCache(clock=lambda: 600.0)
    many = " ".join(f"a{n}: publishEvent(id: {n}) {{ errors {{ code }} }}" for n in range(12))
    async with command_side(database_url) as service:

        def wrap(inner: ASGIApp) -> ASGIApp:
            return Throttled(inner, cache=cache, rates=Rates(commands=5), secret=b"secret")

        application = applications.commands(Telemetry(service="command"), service, wrap)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://commands") as client:
            body = {"query": f"mutation {{ {many} }}"}
            answer = await client.post("/command", json=body, headers={"MyEvents-User": "usr_ann"})
    assert (answer.status_code, "at most 5 mutations" in answer.json()["errors"][0]["message"]) == (429, True)


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
