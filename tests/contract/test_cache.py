"""What every cache promises, held against each of them: in memory, and in a real Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from myevents.cache.memory import MemoryCache
from myevents.cache.port import ENTRY_LIMIT, Cache
from myevents.cache.redis import RedisCache
from tests.random_cases import cases

REDIS = os.environ.get("MYEVENTS_TEST_CACHE_URL", "")
needs_redis = pytest.mark.skipif(not REDIS, reason="MYEVENTS_TEST_CACHE_URL is not set: scripts/servers.sh up redis")

Opened = Callable[[], Cache]
"""One more process's way to what is kept: the same cache each time."""


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    """A cache of the test's own, empty."""
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            kept = MemoryCache()
            stack.push_async_callback(kept.close)
            yield lambda: kept
            return
        prefix = b"test:%s:" % uuid4().hex.encode()

        def connected() -> Cache:
            cache = RedisCache(REDIS, prefix)
            stack.push_async_callback(cache.close)
            return cache

        yield connected
        async with Redis.from_url(REDIS) as server:
            async for key in server.scan_iter(prefix + b"*"):
                await server.delete(key)


@pytest.fixture
def cache(opened: Opened) -> Cache:
    """The cache of one process."""
    return opened()


async def gone(cache: Cache, key: bytes) -> bool:
    """Whether the value is let go of within a few seconds."""
    for _ in range(100):
        if await cache.get(key) is None:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_what_is_kept_is_found_by_everyone_who_shares_the_cache(opened: Opened) -> None:
    one, other = opened(), opened()
    assert await other.get(b"list") is None
    await one.set(b"list", b"first", 60)
    assert await other.get(b"list") == b"first"
    await other.set(b"list", b"second", 60)
    assert await one.get(b"list") == b"second"
    assert await one.get(b"lis") is None


async def test_a_value_goes_when_its_time_is_over(cache: Cache) -> None:
    await cache.set(b"soon", b"1", 0.2)
    await cache.set(b"later", b"2", 60)
    assert await gone(cache, b"soon")
    assert await cache.get(b"later") == b"2"


async def test_any_bytes_come_back_as_they_were(cache: Cache) -> None:
    everything = bytes(range(256))
    for key, value in ((everything, everything), (b"\xff\x00", b""), (b"\r\n*1\r\n", b"$3\r\nfoo\r\n"), (b" ", b"nil")):
        await cache.set(key, value, 60)
        assert await cache.get(key) == value


async def test_a_value_over_the_limit_is_not_kept(cache: Cache) -> None:
    await cache.set(b"large", b"x" * ENTRY_LIMIT, 60)
    assert await cache.get(b"large") == b"x" * ENTRY_LIMIT
    await cache.set(b"larger", b"x" * (ENTRY_LIMIT + 1), 60)
    assert await cache.get(b"larger") is None
    assert cache.outcomes["too_large"] == 1


async def test_work_is_claimed_by_one_of_many(opened: Opened) -> None:
    caches = [opened(), opened()]
    claims = await asyncio.gather(*(caches[n % 2].claim(b"work", 60) for n in range(20)))
    assert sum(claims) == 1
    assert await caches[0].claim(b"other work", 60)


async def test_a_claim_ends_by_itself(cache: Cache) -> None:
    assert await cache.claim(b"work", 0.2)
    for _ in range(100):
        if await cache.claim(b"work", 0.2):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it is claimed for ever")


async def test_all_who_share_the_cache_count_together(opened: Opened) -> None:
    caches = [opened(), opened()]
    counts = await asyncio.gather(*(caches[n % 2].count(b"ann", 3600) for n in range(50)))
    # Those of the hour before, of which there are none here, would count in part.
    assert sorted(counts) == list(range(1, 51))
    assert await caches[0].count(b"ben", 3600) == 1
    assert await caches[1].count_each((b"ann", b"ben"), 3600, 2) == [52, 3]
    assert await caches[0].count_each((b"ben", b"eve"), 3600) == [4, 1]


async def test_what_was_counted_long_ago_counts_no_more(cache: Cache) -> None:
    for _ in range(5):
        await cache.count(b"ann", 0.2)
    await asyncio.sleep(0.5)
    assert await cache.count(b"ann", 0.2) == 1


async def test_what_comes_about_is_counted(cache: Cache) -> None:
    await cache.get(b"a")
    await cache.set(b"a", b"1", 60)
    await cache.get(b"a")
    assert {name: cache.outcomes[name] for name in ("hit", "miss", "store", "error")} == {
        "hit": 1,
        "miss": 1,
        "store": 1,
        "error": 0,
    }


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.binary(max_size=400)), max_size=60))
@settings(max_examples=cases(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_memory_is_never_exceeded_and_what_was_used_last_is_kept(writes: list[tuple[bytes, bytes]]) -> None:
    async def write() -> None:
        cache = MemoryCache(2_000)
        for key, value in writes:
            await cache.set(key, value, 60)
            assert await cache.get(key) == value
            assert cache.held <= 2_000
        held = {key for key, _ in writes if cache.look(key) is not None}
        # Whatever was let go of was written before all that is kept.
        last = {key: at for at, (key, _) in enumerate(writes)}
        assert all(last[kept] > last[lost] for kept in held for lost in last.keys() - held)

    asyncio.run(write())


async def test_a_clock_that_moves_on_lets_go() -> None:
    now = [100.0]
    cache = MemoryCache(clock=lambda: now[0])
    await cache.set(b"a", b"1", 10)
    for _ in range(10):
        await cache.count(b"ann", 60)
    now[0] += 9.9
    assert await cache.get(b"a") == b"1"
    now[0] += 0.2
    assert await cache.get(b"a") is None
    # 100 s is in the window 60 to 120; at 150 half of the next one is over.
    now[0] = 150.0
    assert await cache.count(b"ann", 60) == 1 + 10 / 2
