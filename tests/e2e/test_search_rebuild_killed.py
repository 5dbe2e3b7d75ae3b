"""A rebuild of the index in Elasticsearch that is killed, again and again, comes to the same index."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from myevents.search.elastic.address import address_of
from myevents.search.elastic.builds import ElasticBuilds
from myevents.search.port import SearchQuery
from tests.e2e.test_killed_midway import Command, begin
from tests.elastic import search_url_of_its_own
from tests.integration.test_import import SAMPLE, imported
from tests.integration.test_search_projector import search_side
from tests.search_corpus import all_events

__all__ = ["begin"]


async def test_a_rebuild_killed_again_and_again_comes_to_the_same_index(
    database_url: str,
    begin: Callable[..., Command],
    stack: AsyncExitStack,
    monkeypatch: pytest.MonkeyPatch,
    chance: random.Random,
) -> None:
    url = await stack.enter_async_context(search_url_of_its_own())
    monkeypatch.setenv("MYEVENTS_SEARCH_URL", url)
    side = await search_side(database_url, ElasticBuilds(address_of(url)), stack)
    await imported(database_url, SAMPLE.read_bytes().splitlines())
    await side.projector.prepare()
    await side.projector.catch_up()
    live = await side.builds.live()
    before = await all_events(live)
    for _ in range(6):
        rebuilding = begin("rebuild", "search")
        end = asyncio.get_running_loop().time() + chance.uniform(1, 3)
        while rebuilding.running and asyncio.get_running_loop().time() < end:
            # What serves goes on serving.
            assert (await live.search(SearchQuery(text="javascript"))).total > 100
            await asyncio.sleep(0.02)
        rebuilding.kill()
    await begin("rebuild", "search").done()
    assert await side.builds.serving() > 1
    assert await all_events(live) == before
    assert await side.breaches() == []
    await begin("rebuild", "search", "--drop-old").done()
    assert await side.builds.existing() == [await side.builds.serving()]
