"""What every search index does, whatever its engine: held against a plain search that looks at every word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from myevents.search.elastic.address import address_of
from myevents.search.elastic.builds import ElasticBuilds
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.search.embedded.index import EmbeddedIndex
from myevents.search.port import SearchBuilds, SearchIndex, SearchQuery, SearchUnavailable
from schema.event_filter import Circle, EventFilter
from schema.geography import distance_km
from schema.read_models import EventRow, LocationRow
from tests.elastic import search_url_of_its_own
from tests.search_corpus import AT, all_events, an_event_row, conferences, plainly_found

QUERIES = """
javascript|java|react|react london|London React|reakt|reakt lodnon|amsterdm|pyhton|pyton berlin|kubernets|devops
devopsdays|devops days|"devops days"|"days devops"|"react advanced" london|javascript 2019|june 2018 berlin|may
2020|node.js|nodejs|node js|c++|c#|.net|vue.js amsterdam|são paulo|sao paulo|SÃO PAULO|zürich|zurich|Zürch|münchen
köln|krakow|kraków|ελλάδα|東京|j|ja|jav|javas|a|the|conf|conference|confernce|php|phhp|ruby|rubby|rub|rails
security|securty|data science|data scinece|machine learning|"machine learning"|ux|ux design|android|androd|ios
swift|scala|rust|golang|go|gophercon|gophercom|agile|agile 2019|zzzzzz|qwertyuiop|x"y|"|""|'|&|<b>|%|*|?|\\|(|-
u.s.a.|usa|united states|new york|new yrok|nw york|berlin js|js berlin|online|emojis 😀|typescript graphql|mobile ios
"""


@pytest.fixture(params=["embedded", "elastic"])
async def builds(request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack) -> SearchBuilds:
    """Where each engine keeps its builds."""
    made: SearchBuilds = EmbeddedBuilds(tmp_path / "builds")
    if request.param == "elastic":
        made = ElasticBuilds(address_of(await stack.enter_async_context(search_url_of_its_own())))
    stack.push_async_callback(made.close)
    return made


@pytest.fixture
async def index(builds: SearchBuilds) -> SearchIndex:
    """An empty index."""
    return await builds.live()


async def test_it_finds_what_a_look_at_every_word_finds_in_the_same_order(index: SearchIndex) -> None:
    await index.write(conferences(), [], {})
    queries = [text for line in QUERIES.strip().splitlines() for text in line.split("|")]
    assert len(queries) >= 60
    hits = 0
    for text in queries:
        expected = plainly_found(conferences(), text)
        page = await index.search(SearchQuery(text=text, first=100))
        assert [(hit.score, hit.event.id) for hit in page.hits] == expected[:100], text
        assert page.total == len(expected), text
        hits += len(expected)
    assert hits > 10_000


async def test_pages_put_together_are_the_whole(index: SearchIndex) -> None:
    await index.write(conferences(), [], {})
    for text in ("javascript", "confernce berlln", ""):
        seen, after = list[str](), None
        while True:
            page = await index.search(SearchQuery(text=text, first=100, after=after))
            seen += [hit.event.id for hit in page.hits]
            if not page.has_next:
                break
            after = page.hits[-1].sort
        assert len(set(seen)) == len(seen) == page.total, text
        assert seen == [key for _, key in plainly_found(conferences(), text)], text


async def test_filters_leave_what_they_say(index: SearchIndex) -> None:
    await index.write(conferences(), [], {})
    since, until = datetime(2018, 1, 1, tzinfo=UTC), datetime(2019, 1, 1, tzinfo=UTC)
    london = Circle(latitude=51.5, longitude=-0.1, radius_km=360)
    cases: list[tuple[EventFilter, Callable[[EventRow], object]]] = [
        (EventFilter(topics=["ruby", "php"]), lambda row: {"ruby", "php"} & set(row.topics)),
        (EventFilter(city=["London"], country=["U.K."]), lambda row: (row.city, row.country) == ("London", "U.K.")),
        (EventFilter(online=True), lambda row: row.online),
        (EventFilter(starts_from=since, starts_until=until), lambda row: since <= row.starts_at < until),
        (EventFilter(seats_available_at_least=97), lambda row: row.seats_available >= 97),
        (EventFilter(name="CONF e"), lambda row: "conf e" in row.name_folded),
        (EventFilter(name="(a|b)*\\" * 50), lambda _: False),
        (EventFilter(location_id=conferences()[0].location_id), lambda row: row.city == conferences()[0].city),
        (EventFilter(ids=[conferences()[7].id, "evt_x"]), lambda row: row.id == conferences()[7].id),
        (EventFilter(ids=[]), lambda _: False),
        (EventFilter(status=["CANCELLED"]), lambda _: False),
        (
            EventFilter(near=london),
            lambda row: row.city in ("London", "Amsterdam"),
        ),
    ]
    for where, lets_by in cases:
        expected = [key for _, key in plainly_found([row for row in conferences() if lets_by(row)], "")]
        page = await index.search(SearchQuery(text="", where=where, first=100))
        assert ([hit.event.id for hit in page.hits], page.total) == (expected[:100], len(expected)), where
    assert page.total > 100


async def test_what_is_near_comes_first_when_asked_so_and_what_is_soon_when_asked_so(index: SearchIndex) -> None:
    await index.write(conferences(), [], {})
    where = EventFilter(near=Circle(latitude=52.0, longitude=13.0, radius_km=1000))
    page = await index.search(SearchQuery(text="js", where=where, order="DISTANCE", first=100))
    distances = [distance_km(52.0, 13.0, hit.event.latitude or 0, hit.event.longitude or 0) for hit in page.hits]
    assert distances == sorted(distances)
    assert {hit.event.city for hit in page.hits} == {"London", "Berlin", "Amsterdam"}
    soon = await index.search(SearchQuery(text="javascript", order="STARTS_AT", first=100))
    starts = [(hit.event.starts_at, hit.event.id) for hit in soon.hits]
    assert starts == sorted(starts)
    assert soon.total == len(plainly_found(conferences(), "javascript"))


async def test_facets_count_what_was_found(index: SearchIndex) -> None:
    await index.write(conferences(), [], {})
    found = {key for _, key in plainly_found(conferences(), "react")}
    rows = [row for row in conferences() if row.id in found]
    facets = await index.facets(SearchQuery(text="react"), ["TOPIC", "CITY", "COUNTRY", "MONTH"], 5)
    values = {
        "TOPIC": [topic for row in rows for topic in set(row.topics)],
        "CITY": [row.city for row in rows if row.city],
        "COUNTRY": [row.country for row in rows if row.country],
        "MONTH": [f"{row.starts_at:%Y-%m}" for row in rows],
    }
    for field, having in values.items():
        counts = sorted((-having.count(value), value) for value in set(having))[:5]
        assert [(-bucket.count, bucket.value) for bucket in facets[field]] == counts, field  # type: ignore[index]
    near = EventFilter(near=Circle(latitude=51.5, longitude=-0.1, radius_km=50))
    assert [bucket.value for bucket in (await index.facets(SearchQuery(text="", where=near), ["CITY"], 5))["CITY"]] == [
        "London"
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("reakt", "react"),
        ("javscript lodnon", "javascript london"),
        ("kubernets", "kubernetes"),
        ("react", None),
        ("rea", None),
        ("zzzzzzzz", None),
        ("", None),
        ('"', None),
    ],
)
async def test_a_misspelt_word_is_bettered(index: SearchIndex, typed: str, meant: str | None) -> None:
    await index.write(conferences(), [], {})
    assert await index.did_you_mean(typed) == meant


async def test_suggestions_begin_as_typed_each_name_once(index: SearchIndex) -> None:
    rows = [
        an_event_row("React London", 1),
        an_event_row("react LONDON", 2),
        an_event_row("London Réact", 3),
        an_event_row("Reactor", 4, status="DRAFT"),
        an_event_row("Vue London", 5),
    ]
    await index.write(rows, [], {})
    suggested = await index.suggest("REAC", 5)
    assert [(row.name, row.id) for row in suggested] == [("react LONDON", rows[1].id), ("London Réact", rows[2].id)]
    assert [row.name for row in await index.suggest("london re", 5)] == ["London Réact", "react LONDON"]
    assert await index.suggest("london x", 5) == []
    assert await index.suggest(" ", 5) == []


async def test_drafts_are_never_found_and_cancelled_events_only_when_asked_for(index: SearchIndex) -> None:
    rows = [an_event_row(f"Talk {status}", status=status) for status in ("DRAFT", "PUBLISHED", "CANCELLED")]
    await index.write(rows, [], {})
    for statuses, found in ((None, ["PUBLISHED"]), (["CANCELLED"], ["CANCELLED"]), (["DRAFT"], [])):
        page = await index.search(SearchQuery(text="talk", where=EventFilter(status=statuses)))
        assert [hit.event.status for hit in page.hits] == found


async def test_what_is_written_again_is_there_once_as_written_last(index: SearchIndex) -> None:
    row = an_event_row("First name")
    await index.write([row], [], {3: 1})
    await index.write([replace(row, name="Other", name_folded="other", version=2)], [], {3: 2, 4: 9})
    assert (await index.search(SearchQuery(text="first"))).total == 0
    assert [hit.event.version for hit in (await index.search(SearchQuery(text="other"))).hits] == [2]
    assert await index.checkpoints() == {3: 2, 4: 9}
    assert list(await all_events(index)) == [row.id]


async def test_a_write_that_is_given_up_ends_before_the_next_one_begins(index: SearchIndex) -> None:
    for seq in range(1, 6):
        given_up = asyncio.create_task(index.write(conferences()[:500], [], {0: seq}))
        await asyncio.sleep(0.01)
        given_up.cancel()
        last = an_event_row("Talk", seq)
        await index.write([last], [], {1: seq}, since=await index.checkpoints())
        assert await index.events([last.id]) == {last.id: last}
    assert (await index.checkpoints())[1] == 5


async def test_what_was_folded_from_older_checkpoints_is_not_written(index: SearchIndex) -> None:
    row = an_event_row("First")
    await index.write([row], [], {3: 1}, since={})
    assert await index.checkpoints() == {3: 1}
    for since in ({}, {3: 2}, {3: 1, 4: 1}):
        with pytest.raises(SearchUnavailable, match="Another process"):
            await index.write([replace(row, version=2)], [], {3: 2}, since=since)
    assert await all_events(index) == {row.id: row}
    await index.write([replace(row, version=2)], [], {3: 2}, since={3: 1})
    assert await index.checkpoints() == {3: 2}


async def test_it_keeps_locations_and_knows_who_is_there(index: SearchIndex) -> None:
    location = LocationRow(id="loc_a", name="House", country="NL", version=1)
    here = an_event_row("Here", location_id="loc_a")
    await index.write([here, an_event_row("There", location_id="loc_b")], [location], {})
    assert await index.locations(["loc_a", "loc_b"]) == {"loc_a": location}
    assert await index.events_at(["loc_a"]) == [here]
    assert await index.events([here.id, "evt_x"]) == {here.id: here}
    assert (await index.search(SearchQuery(text="house"))).total == 0


async def test_a_build_serves_once_it_is_told_to(builds: SearchBuilds) -> None:
    live = await builds.live()
    await live.write([an_event_row("Old")], [], {})
    build = await builds.begin()
    fresh = await builds.open(build)
    await fresh.write([an_event_row("New")], [], {})
    assert await builds.begin() == build, "what was begun is gone on with"
    assert (await (await builds.live()).search(SearchQuery(text="old"))).total == 1
    await builds.serve(build)
    assert (await (await builds.live()).search(SearchQuery(text="new"))).total == 1
    assert await builds.existing() == [1, build]
    assert await builds.begin() == build + 1
    await builds.drop(1)
    assert await builds.existing() == [build]


async def test_one_writes_and_the_others_see_it(tmp_path: Path) -> None:
    writer, reader = EmbeddedIndex(tmp_path / "index"), EmbeddedIndex(tmp_path / "index")
    await writer.write([an_event_row("One", starts_at=AT)], [], {0: 1})
    await reader.refresh()
    assert (await reader.search(SearchQuery(text="one"))).total == 1
    with pytest.raises(SearchUnavailable):
        await reader.hold()
    await writer.close()
    await reader.hold()
    await reader.close()
