"""An event with the longest texts there may be is indexed, booked, searched and shown while others are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from myevents.search.elastic.address import address_of
from myevents.search.elastic.builds import ElasticBuilds
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.search.highlights import REQUEST_CHARACTERS
from myevents.search.port import SearchBuilds, SearchQuery
from query.cursors import Cursors
from query.graphql.endpoint import schema
from query.graphql.types import Context
from query.position import Position
from query.reads import Reads
from query.sources import Sources
from tests.command_side import an_event, book, command_side
from tests.elastic import search_url_of_its_own
from tests.integration.test_search_projector import search_side
from tests.search_corpus import an_event_row

LONGEST_STOP_SECONDS: Final = 0.1
"""How long the event loop may stand still."""

TEXTS: Final = {
    "units of six letters": "\u3316" * 10_000,
    "ligatures of eighteen": "\ufdfa" * 10_000,
    "a letter": "a" * 10_000,
    "marks": "a" + "\u0301\u0323" * 4999,
    "words": "needle " * 1428,
    "letters and joiners": "a.-" * 3333,
}
_TRIES: Final = 6


@asynccontextmanager
async def loop_probe() -> AsyncIterator[Callable[[], float]]:
    """Give how long the event loop stood still at most, in seconds, until then."""
    longest = 0.0

    async def probe() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)

    probing = asyncio.create_task(probe())
    try:
        yield lambda: longest
    finally:
        probing.cancel()


async def shortest_stop(work: Callable[[], Awaitable[object]]) -> float:
    """How long the event loop stands still while `work` goes on, where the machine has nothing else to do."""
    stops = []
    for _ in range(_TRIES):
        async with loop_probe() as longest:
            await work()
            # A stop is only seen once it is over.
            await asyncio.sleep(0.005)
            stops.append(longest())
        if stops[-1] <= LONGEST_STOP_SECONDS:
            break
    return min(stops)


@pytest.fixture(params=["embedded", "elastic"])
async def builds(request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack) -> SearchBuilds:
    """Where each engine keeps its builds."""
    if request.param == "embedded":
        return EmbeddedBuilds(tmp_path / "search")
    return ElasticBuilds(address_of(await stack.enter_async_context(search_url_of_its_own())))


async def test_an_event_with_any_text_is_indexed_and_booked_while_the_loop_goes_on(
    database_url: str, builds: SearchBuilds, stack: AsyncExitStack
) -> None:
    side = await search_side(database_url, builds, stack)
    await side.projector.prepare()
    async with command_side(database_url) as service:
        for name, text in TEXTS.items():
            event = await an_event(service, name=name, description=text, capacity=100)
            async with asyncio.timeout(10):
                await side.projector.catch_up()

            async def be_booked(event: str = event) -> None:
                await book(service, event, 1)
                await side.projector.catch_up()

            assert await shortest_stop(be_booked) <= LONGEST_STOP_SECONDS, name

            async def be_created(name: str = name, text: str = text) -> None:
                await an_event(service, name=name, description=text[:-1])
                await side.projector.catch_up()

            assert await shortest_stop(be_created) <= LONGEST_STOP_SECONDS, name
    assert await side.breaches() == []
    index = await builds.live()
    assert (await index.search(SearchQuery(text="needle"))).total >= 2


@pytest.mark.parametrize("text", TEXTS)
async def test_highlights_of_many_long_texts_are_within_a_budget_and_off_the_loop(text: str, tmp_path: Path) -> None:
    builds = EmbeddedBuilds(tmp_path / "search")
    rows = [an_event_row("Needle", number, description=TEXTS[text]) for number in range(100)]
    await (await builds.live()).write(rows, [], {})
    aliases = [f'a{number}: searchEvents(search: "needle", first: 100) {{ ...hits }}' for number in range(15)]
    document = f"{{ {' '.join(aliases)} }} fragment hits on SearchConnection {{ nodes {{ highlights }} }}"
    shown: list[Any] = []

    async def search() -> None:
        reads = Reads(Sources(None), Cursors(b"secret"))  # type: ignore[arg-type]
        context = Context(reads=reads, search=builds, position=Position(reads, None), viewer=None)
        result = await schema.execute(document, context_value=context)
        assert result.data is not None, result.errors
        shown[:] = [node["highlights"] for page in result.data.values() for node in page["nodes"]]

    assert await shortest_stop(search) <= LONGEST_STOP_SECONDS
    assert len(shown) == 1500
    described = sum(len(pieces) == 2 for pieces in shown)
    assert described <= REQUEST_CHARACTERS // len(TEXTS[text])
    assert described > 0 or text != "words"
    assert sum(pieces[:1] == ["<em>Needle</em>"] for pieces in shown) > 100
    await builds.close()
