"""A Redis that hangs, dies or is full costs its callers a moment, and is used again when it is back."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from myevents.cache.redis import RedisCache
from tests.redis_server import RedisServer, needs_redis_server, redis_server

pytestmark = needs_redis_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis to be lost."""
    async with redis_server(tmp_path) as started:
        yield started


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[RedisCache]:
    """A cache in it that has one entry."""
    made = RedisCache(server.url)
    await made.set(b"kept", b"1", 600)
    assert await made.get(b"kept") == b"1"
    yield made
    await made.close()


async def is_used_again(cache: RedisCache) -> None:
    """Fail where the server is not used within many seconds."""
    for _ in range(300):
        await cache.set(b"again", b"2", 600)
        if await cache.get(b"again") == b"2":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the server is back, and not used")


@pytest.mark.parametrize("lost", [signal.SIGSTOP, signal.SIGKILL])
async def test_whoever_asks_is_answered_while_it_is_lost(
    server: RedisServer, cache: RedisCache, lost: signal.Signals
) -> None:
    server.signal(lost)
    async with asyncio.timeout(20):
        for _ in range(2000):
            assert await cache.get(b"kept") is None
            assert await cache.claim(b"work", 60)
            await cache.set(b"new", b"1", 60)
        counts = [await cache.count(b"ann", 3600) for _ in range(10)]
    assert counts == list(range(1, 11)), "this process counts by itself"
    assert not cache.answers
    assert cache.outcomes["away"] > 50 * cache.outcomes["error"] > 0, "it is asked again and again"
    if lost is signal.SIGSTOP:
        server.signal(signal.SIGCONT)
    else:
        await server.start()
    await is_used_again(cache)
    assert cache.answers


async def test_many_at_once_are_answered_when_it_hangs(server: RedisServer, cache: RedisCache) -> None:
    server.signal(signal.SIGSTOP)
    async with asyncio.timeout(20):
        for _ in range(3):
            assert set(await asyncio.gather(*(cache.get(b"kept") for _ in range(300)))) == {None}
    server.signal(signal.SIGCONT)
    await is_used_again(cache)


async def test_one_that_is_full_is_read_and_nothing_else(server: RedisServer, cache: RedisCache) -> None:
    async with server.client() as client:
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
    await cache.set(b"new", b"1", 60)
    assert await cache.get(b"new") is None
    assert await cache.get(b"kept") == b"1"
    assert [await cache.count(b"ann", 3600) for _ in range(3)] == [1, 2, 3]
    assert cache.answers
    assert cache.outcomes["error"] > 0
    async with server.client() as client:
        await client.config_set("maxmemory", "0")
    await cache.set(b"new", b"1", 60)
    assert await cache.get(b"new") == b"1"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
async def test_with_tls_a_server_is_used_that_an_authority_vouches_for(tmp_path: Path) -> None:
    async with redis_server(tmp_path, secure=True) as server:
        plain, _, _ = server.url.partition("?")
        for url, used in ((server.url, True), (plain, False), (server.url.replace("p%40ss", "wrong"), False)):
            cache = RedisCache(url)
            await cache.set(b"kept", b"1", 60)
            assert await cache.get(b"kept") == (b"1" if used else None)
            assert (cache.outcomes["error"] > 0) is not used
            await cache.close()


async def test_a_caller_who_goes_away_does_no_harm(cache: RedisCache) -> None:
    for wait in range(60):
        callers = [asyncio.create_task(cache.get(b"kept")) for _ in range(4)]
        for _ in range(wait):
            await asyncio.sleep(0)
        callers[0].cancel()
        callers[1].cancel()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert answers[2:] == [b"1", b"1"], "nobody is given what another one asked for"
    assert cache.answers
