"""What people who search see over HTTP."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.served import Served, free_port, served
from tests.elastic import search_url_of_its_own

ANN = {"MyEvents-User": "usr_ann"}
TIMES = {"startsAt": "2027-05-01T10:00:00+02:00", "endsAt": "2027-05-01T12:00:00+02:00"}
SEARCH = """query($q: String!, $first: Int, $after: String, $where: EventWhere, $order: SearchOrder) {
  searchEvents(search: $q, first: $first, after: $after, where: $where, orderBy: $order) {
    totalCount didYouMean
    edges { cursor node { score highlights event { id name seatsAvailable location { name city } } } }
    pageInfo { hasNextPage hasPreviousPage endCursor }
    facets(fields: [TOPIC, CITY], first: 3) { field buckets { value count } } } }"""


@pytest.fixture(params=["embedded", "elastic"])
async def service(request: pytest.FixtureRequest, database_url: str, tmp_path: Path, stack: AsyncExitStack) -> Served:
    """`myevents serve` with each search engine."""
    settings = {}
    if request.param == "elastic":
        settings["MYEVENTS_SEARCH_URL"] = await stack.enter_async_context(search_url_of_its_own())
    made = stack.enter_context(served(database_url, tmp_path, settings=settings))
    await made.start()
    return made


async def ask(client: httpx.AsyncClient, query: str, position: str = "0:0", **variables: Any) -> Any:
    """The answer's `data`, as of a position."""
    headers = {"MyEvents-Position": position}
    for _ in range(20):
        answer = await client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        assert "errors" not in answer.json(), answer.text
        if not answer.json()["extensions"].get("stale"):
            return answer.json()["data"]
    raise AssertionError("the index does not come to the position")


async def create(client: httpx.AsyncClient, **changes: Any) -> tuple[str, str]:
    """The id of a new event, and the position after it."""
    made = await client.post("/api/events", json={**TIMES, "online": True, "capacity": 10, **changes})
    assert made.status_code == 201, made.text
    return made.json()["id"], made.headers["MyEvents-Position"]


async def test_what_was_just_done_is_found_by_a_search_that_waits_for_it(service: Served) -> None:
    async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
        event, position = await create(client, name="Größe & <b>Café</b> der Vögel", topics=["birds"])
        found = (await ask(client, SEARCH, position, q="CAFE vogel"))["searchEvents"]
        assert found["totalCount"] == 1
        assert found["edges"][0]["node"]["highlights"] == [
            "Größe &amp; &lt;b&gt;<em>Café</em>&lt;/b&gt; der <em>Vögel</em>"
        ]
        assert found["didYouMean"] is None
        assert found["facets"][0] == {"field": "TOPIC", "buckets": [{"value": "birds", "count": 1}]}
        booked = await client.post(f"/api/events/{event}/bookings", json={"seats": 4})
        position = booked.headers["MyEvents-Position"]
        for at_least, count in ((6, 1), (7, 0)):
            where = {"seatsAvailableAtLeast": at_least}
            found = (await ask(client, SEARCH, position, q="vogel", where=where))["searchEvents"]
            assert found["totalCount"] == count
        cancel = f'mutation {{ cancelEvent(id: "{event}") {{ position errors {{ message }} }} }}'
        cancelled = (await client.post("/command", json={"query": cancel})).json()["data"]["cancelEvent"]
        assert cancelled["errors"] == []
        found = (await ask(client, SEARCH, cancelled["position"], q="vogel"))["searchEvents"]
        assert (found["totalCount"], found["edges"]) == (0, [])


async def test_a_typing_error_is_forgiven_and_a_better_spelling_offered(service: Served) -> None:
    async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
        for name in ("Kubernetes Day", "Symphony No. 9"):
            event, position = await create(client, name=name)
        found = (await ask(client, SEARCH, position, q="sinphony"))["searchEvents"]
        assert [edge["node"]["event"]["id"] for edge in found["edges"]] == [event]
        assert found["edges"][0]["node"]["highlights"] == ["<em>Symphony</em> No. 9"]
        assert found["didYouMean"] == "symphony"
        suggest = "query($p: String!) { suggestEvents(prefix: $p, first: 5) { text event { name } } }"
        assert (await ask(client, suggest, position, p="kub"))["suggestEvents"] == [
            {"text": "Kubernetes Day", "event": {"name": "Kubernetes Day"}}
        ]


async def test_pages_of_a_search_show_every_hit_once(service: Served) -> None:
    async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
        for number in range(11):
            _, last = await create(client, name=f"Talk {number % 3}")
            positions = await client.post("/graphql", json={"query": "{ readModels { name } }"})
            assert positions.status_code == 200
            await ask(client, SEARCH, last, q="talk")
        seen, after = [], None
        while True:
            page = (await ask(client, SEARCH, q="talk", first=4, after=after))["searchEvents"]
            assert page["totalCount"] == 11
            assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
            seen += [edge["node"]["event"]["id"] for edge in page["edges"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert len(set(seen)) == len(seen) == 11
        wrong = await client.post("/graphql", json={"query": SEARCH, "variables": {"q": "other", "after": after}})
        assert "cursor" in wrong.json()["errors"][0]["message"]


async def test_a_search_that_cannot_be_says_why(service: Served) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"q": "x" * 201}, "200 characters"),
        ({"q": "\0"}, "NUL"),
        ({"q": "x", "first": 0}, "1 to 100"),
        ({"q": "x", "first": 101}, "1 to 100"),
        ({"q": "x", "after": "?"}, "cursor"),
        ({"q": "x", "order": "DISTANCE"}, "where.near"),
    ]
    async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
        for variables, told in bad:
            answer = await client.post("/graphql", json={"query": SEARCH, "variables": variables})
            assert answer.status_code == 200, variables
            assert told in answer.json()["errors"][0]["message"], variables
        for text in ("", " ", '"', "%", "\\", "(", "😀", "ﷺ" * 50, "a b " * 50, "\u200b", "\u0301"):
            found = await ask(client, SEARCH, q=text)
            assert found["searchEvents"]["totalCount"] == 0, text


async def test_the_events_of_a_location_are_listed_with_it(service: Served) -> None:
    query = """query($id: ID!, $other: ID) { location(id: $id) { name
      events(first: 5) { totalCount nodes { name location { name } hall { name } } }
      none: events(where: {locationId: $other}) { totalCount } } }"""
    async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
        body = {"name": "House", "country": "NL", "halls": [{"name": "Big", "capacity": 50}]}
        made = await client.post("/api/locations", json=body)
        location, placed = made.json(), made.headers["MyEvents-Position"]
        hall = location["hallIds"][0] if "hallIds" in location else location["halls"][0]["id"]
        place = {"locationId": location["id"], "hallId": hall, "online": False, "capacity": 5}
        _, position = await create(client, name="Inside", **place)
        await create(client, name="Elsewhere")
        # The location's facts are in another partition than the event's.
        await ask(client, query, placed, id=location["id"], other="loc_x")
        shown = (await ask(client, query, position, id=location["id"], other="loc_x"))["location"]
        assert shown["events"]["nodes"] == [{"name": "Inside", "location": {"name": "House"}, "hall": {"name": "Big"}}]
        assert (shown["events"]["totalCount"], shown["none"]["totalCount"]) == (1, 0)


async def test_without_its_server_searching_alone_is_refused(database_url: str, tmp_path: Path) -> None:
    nobody = {"MYEVENTS_SEARCH_URL": f"http://127.0.0.1:{free_port()}"}
    with served(database_url, tmp_path, settings=nobody) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            event, position = await create(client, name="Vogel")
            booked = await client.post(f"/api/events/{event}/bookings", json={"seats": 4})
            assert booked.status_code == 201
            position = booked.headers["MyEvents-Position"]
            query = "query($id: ID!) { event(id: $id) { seatsAvailable } }"
            assert (await ask(client, query, position, id=event))["event"] == {"seatsAvailable": 6}
            refused = (await client.post("/graphql", json={"query": SEARCH, "variables": {"q": "vogel"}})).json()
            [error] = refused["errors"]
            assert error["extensions"] == {"code": "OVERLOADED", "retryAfter": 1.0}
            assert "does not answer" in error["message"]
            assert (await client.get("/readyz")).status_code == 200
