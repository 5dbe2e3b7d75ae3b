"""Elasticsearch over TLS with a user and a password, killed, stopped and started again: it costs searching alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

import pytest

from myevents.search.elastic.address import Address, address_of
from myevents.search.elastic.builds import ElasticBuilds
from myevents.search.port import SearchQuery, SearchUnavailable
from tests.command_side import an_event, book, command_side
from tests.e2e.served import until
from tests.elastic import PrivateElasticsearch, private_elasticsearch
from tests.integration.test_search_projector import Side, search_side
from tests.search_corpus import conferences, plainly_found

__all__ = ["private_elasticsearch"]

pytestmark = pytest.mark.xdist_group("losing Elasticsearch")  # all of them on the one that the module starts


@pytest.fixture
def address(private_elasticsearch: PrivateElasticsearch, database_url: str) -> Address:
    """Where this test may make indexes."""
    prefix = database_url.rpartition("/")[2].replace("_", "-")
    return replace(address_of(private_elasticsearch.url, ca=private_elasticsearch.ca), prefix=prefix)


@asynccontextmanager
async def followed(side: Side) -> AsyncIterator[None]:
    """The index follows the log meanwhile."""
    following = asyncio.create_task(side.projector.run())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def shows(side: Side, event: str, booked: int) -> bool:
    """Whether the index has come to that many seats booked."""
    with suppress(SearchUnavailable):
        rows = await (await side.builds.live()).events([event])
        return event in rows and rows[event].seats_booked == booked
    return False


async def test_only_who_is_known_gets_in_and_only_where_the_certificate_is_right(
    address: Address, stack: AsyncExitStack
) -> None:
    builds = ElasticBuilds(address)
    stack.push_async_callback(builds.close)
    index = await builds.live()
    await index.write(conferences()[:500], [], {0: 1})
    page = await index.search(SearchQuery(text="javascript", first=100))
    assert [(hit.score, hit.event.id) for hit in page.hits] == plainly_found(conferences()[:500], "javascript")[:100]
    for wrong, told in (
        (replace(address, password="wrong"), "credentials"),
        (replace(address, user=None, password=None), "credentials"),
        (replace(address, ca=None), "TlsError"),
    ):
        builds = ElasticBuilds(wrong)
        stack.push_async_callback(builds.close)
        with pytest.raises(SearchUnavailable, match=told) as refused:
            await builds.live()
        assert PrivateElasticsearch.PASSWORD not in f"{refused.value!r}{refused.value.__cause__!r}"


async def test_people_book_while_it_is_dead_and_the_index_comes_back_by_itself(
    private_elasticsearch: PrivateElasticsearch, database_url: str, address: Address, stack: AsyncExitStack
) -> None:
    side = await search_side(database_url, ElasticBuilds(address), stack)
    async with followed(side), command_side(database_url) as service:
        event = await an_event(service, capacity=1000)
        booked = 0
        for _ in range(2):
            await book(service, event, 2)
            booked += 2
            await until(lambda booked=booked: shows(side, event, booked))  # type: ignore[misc]
            private_elasticsearch.kill()
            for _ in range(20):
                await book(service, event, 1)
                booked += 1
            live = await side.builds.live()
            with pytest.raises(SearchUnavailable, match="does not answer"):
                await live.search(SearchQuery(text="talk"))
            await asyncio.to_thread(private_elasticsearch.start)
            await until(lambda booked=booked: shows(side, event, booked))  # type: ignore[misc]
    assert await side.breaches() == []


async def test_one_that_hangs_is_waited_for_no_longer_than_the_deadline(
    private_elasticsearch: PrivateElasticsearch, database_url: str, address: Address, stack: AsyncExitStack
) -> None:
    side = await search_side(database_url, ElasticBuilds(address), stack)
    async with followed(side), command_side(database_url) as service:
        event = await an_event(service, capacity=1000)
        await until(lambda: shows(side, event, 0))
        private_elasticsearch.pause()
        try:
            await book(service, event, 5)
            begun = time.monotonic()
            with pytest.raises(SearchUnavailable, match="try again"):
                await (await side.builds.live()).search(SearchQuery(text="talk"))
            assert time.monotonic() - begun < 5
        finally:
            private_elasticsearch.resume()
        await until(lambda: shows(side, event, 5))
    assert await side.breaches() == []
