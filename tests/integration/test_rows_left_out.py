"""No stored value spoils a list for others: the row that holds it is left out and counted, or served as it fits."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import Struct
from msgspec.structs import replace

from command.service import CommandService
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from myevents.telemetry.rows import RowsLeftOut
from projector.run import Projector
from schema.read_models import TicketTypeRow
from schema.tables import PARTITIONS
from tests.command_side import ANN, a_location, an_event, book, booking_id, command_side
from tests.query_side import QuerySide, query_side
from tests.search_corpus import an_event_row

AS_ANN = {"MyEvents-User": ANN.user_id}
ALL_FIELDS = """id name status startsAt endsAt duration capacity seatsAvailable version topics
  ticketTypes { name capacity seatsAvailable } location { name openTime }"""
LISTS = {
    "by plan": f"{{ events(first: 100) {{ nodes {{ {ALL_FIELDS} }} edges {{ cursor node {{ {ALL_FIELDS} }} }} }} }}",
    "by the standard executor": f"""{{ events(first: 40) {{ nodes {{ {ALL_FIELDS} ... on Node {{ id }} }}
      edges {{ cursor node {{ {ALL_FIELDS} location {{ events {{ totalCount }} }} }} }} }} }}""",
}
UNSERVABLE = {
    "a status of a later release": "status = 'POSTPONED'",
    "an end that no calendar has": "ends_at = 'infinity'",
    "a start that no calendar has": "starts_at = '-infinity'",
    "a version beyond 32 bits": "version = 1::bigint << 40",
    "a number beyond 32 bits inside": "ticket_types = jsonb_set(ticket_types, '{0,capacity}', '99999999999')",
    "a list that is none": """ticket_types = '{"no": 1}'""",
    "a location without a name": """location = '{"id": "loc_x", "country": "NL", "version": 1}'""",
    "a location's hour beyond 32 bits": """location = '{"id": "loc_x", "name": "x", "country": "NL", "version": 1,
      "open_time": 4294967296, "halls": []}'""",
}
NULL_INSTEAD = {"a location's hour beyond 32 bits"}
REST_SERVES = {"a status of a later release", "a version beyond 32 bits", "a number beyond 32 bits inside"} | {
    "a location's hour beyond 32 bits"
}


class World(Struct, frozen=True, kw_only=True):
    """Commands, read models that were brought up to date, and who answers from them."""

    admin: asyncpg.Connection
    commands: CommandService
    projector: Projector
    search: EmbeddedBuilds
    queries: QuerySide

    async def answer(self, query: str, **variables: Any) -> Any:
        """Return the data of an answer that has no error."""
        answer = (await self.queries.ask(query, AS_ANN, **variables)).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def left_out(self) -> float:
        """Return how many rows were left out."""
        return sum(
            sample.value
            for metric in self.queries.left_out._count.collect()
            for sample in metric.samples
            if sample.name == "myevents_query_rows_left_out_total"
        )


@pytest.fixture
async def world(database_url: str, tmp_path: Path, stack: AsyncExitStack) -> World:
    """One with nothing in it."""
    pool = await open_pool(database_url)
    stack.push_async_callback(pool.close)
    admin = await asyncpg.connect(database_url)
    stack.push_async_callback(admin.close)
    search = EmbeddedBuilds(tmp_path / "search")
    stack.push_async_callback(search.close)
    commands = await stack.enter_async_context(command_side(database_url))
    projector = Projector(log=StoreLog(pool, PARTITIONS), pool=pool)
    await projector.prepare()
    queries = await stack.enter_async_context(query_side(pool, search))
    return World(admin=admin, commands=commands, projector=projector, search=search, queries=queries)


@pytest.mark.parametrize("value", UNSERVABLE)
async def test_a_list_leaves_out_an_event_that_cannot_be_served(world: World, value: str) -> None:
    events = [await an_event(world.commands, name=f"Talk {number}") for number in range(4)]
    bad = events.pop(1)
    await world.projector.catch_up()
    await world.admin.execute(f"update read.events_1 set {UNSERVABLE[value]} where id = $1", bad)
    served = [*events, bad] if value in NULL_INSTEAD else events
    for query in LISTS.values():
        shown = (await world.answer(query))["events"]
        assert sorted(node["id"] for node in shown["nodes"]) == sorted(served)
        assert sorted(edge["node"]["id"] for edge in shown["edges"]) == sorted(served)

    pages: list[str] = []
    after = None
    for _ in range(6):
        asked = f"events(first: 1, after: $after) {{ nodes {{ {ALL_FIELDS} }} pageInfo {{ hasNextPage endCursor }} }}"
        page = (await world.answer(f"query($after: String) {{ {asked} }}", after=after))["events"]
        pages += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert sorted(pages) == sorted(served), "a page without any row is no end"

    single = (await world.queries.ask(f'{{ event(id: "{bad}") {{ {ALL_FIELDS} }} }}', AS_ANN)).json()
    assert (single["data"]["event"] is None) == (bad not in served)
    assert "errors" not in single
    assert world.left_out() >= 1
    query = f'{{ nodes(ids: ["{bad}", "{events[0]}"]) {{ id ... on Event {{ {ALL_FIELDS} }} }} }}'
    several = (await world.queries.ask(query)).json()
    assert [node and node["id"] for node in several["data"]["nodes"]] == [bad if bad in served else None, events[0]]

    rest = await world.queries.client.get("/api/events")
    assert rest.status_code == 200
    assert {node["id"] for node in rest.json()["nodes"]} == {*events, *([bad] if value in REST_SERVES else [])} - (
        {bad} if value.startswith("a status") else set()
    )
    assert (await world.queries.client.get(f"/api/events/{bad}")).status_code == (200 if value in REST_SERVES else 404)


async def test_an_event_that_lasts_longer_than_can_be_told_is_shown_with_the_longest_time(world: World) -> None:
    event, other = await an_event(world.commands), await an_event(world.commands)
    await world.projector.catch_up()
    await world.admin.execute("update read.events_1 set ends_at = '9999-12-31T23:59:59.999999Z' where id = $1", event)
    shown = await world.answer("{ events { nodes { id endsAt duration } } }")
    durations = {node["id"]: node["duration"] for node in shown["events"]["nodes"]}
    assert durations == {event: 2**31 - 1, other: 120}
    assert (await world.queries.client.get(f"/api/events/{event}")).json()["endsAt"] == "9999-12-31T23:59:59.999999Z"


async def test_a_list_of_locations_leaves_out_one_that_cannot_be_served(world: World) -> None:
    places = [(await a_location(world.commands, 10))[0] for _ in range(3)]
    bad = places.pop(0)
    await world.projector.catch_up()
    for value in ("""halls = '[{"hallId": "hal_x", "name": "x", "capacity": 4294967296}]'""", "halls = '[1]'"):
        await world.admin.execute(f"update read.locations_1 set {value} where id = $1", bad)
        for more in ("", "events { nodes { id } }"):
            query = f"{{ locations {{ totalCount nodes {{ id halls {{ capacity }} {more} }} }} }}"
            shown = await world.answer(query)
            assert sorted(node["id"] for node in shown["locations"]["nodes"]) == sorted(places)
        single = (await world.queries.ask(f'{{ location(id: "{bad}") {{ halls {{ capacity }} }} }}')).json()
        assert single["data"] == {"location": None}
        assert (await world.queries.client.get("/api/locations")).status_code == 200


async def test_bookings_leave_out_one_that_cannot_be_served(world: World) -> None:
    event = await an_event(world.commands)
    bookings = [booking_id(await book(world.commands, event, 1)) for _ in range(3)]
    bad = bookings.pop(1)
    await world.projector.catch_up()
    query = "query($id: ID!) { bookings(eventId: $id) { edges { cursor node { id status lines { seats } } } } }"
    for value in ("status = 'GONE'", "created_at = 'infinity'", """lines = '[{"ticketTypeId": "x", "seats": "y"}]'"""):
        await world.admin.execute(f"update read.bookings_1 set {value} where id = $1", bad)
        shown = await world.answer(query, id=event)
        assert sorted(edge["node"]["id"] for edge in shown["bookings"]["edges"]) == sorted(bookings)
        single = (await world.queries.ask(f'{{ booking(id: "{bad}") {{ id status }} }}', AS_ANN)).json()
        assert single["data"] == {"booking": None}


async def test_a_search_leaves_out_hits_that_cannot_be_served(world: World) -> None:
    kind = TicketTypeRow(ticket_type_id="typ_a", name="A", capacity=2**40)
    good, unknown, large = (an_event_row(f"Ruby {number}", number) for number in range(3))
    rows = [good, replace(unknown, status="POSTPONED"), replace(large, ticket_types=(kind,))]
    await (await world.search.live()).write(rows, [], {})
    for more in ("", "location { events { totalCount } }"):
        query = f"""{{ searchEvents(search: "ruby", where: {{}}) {{ edges {{ cursor }} nodes {{ score event {{
          id status ticketTypes {{ capacity }} {more} }} }} }} }}"""
        shown = (await world.answer(query))["searchEvents"]
        assert [hit["event"]["id"] for hit in shown["nodes"]] == [good.id]
    assert world.left_out() >= 2
    assert isinstance(world.queries.left_out, RowsLeftOut)
