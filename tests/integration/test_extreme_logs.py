"""Whatever commands accept, the projector, `rebuild`, `verify` and every list can do with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from command.commands import BookingRef, EventRef, LocationRef
from command.inputs import (
    BookingInput,
    EventInput,
    EventPatchInput,
    HallInput,
    LocationInput,
    LocationPatchInput,
    TimesInput,
    take,
)
from command.round import Accepted
from command.service import CommandService
from myevents.errors import ErrorCode, Refused
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from projector.parked import parked_streams
from projector.rebuild import rebuild
from projector.run import Projector, read_models
from projector.search import SearchProjector
from projector.search_rebuild import rebuild_search
from projector.search_verify import verify_search
from projector.verify import verify
from schema.tables import PARTITIONS
from tests import extremes
from tests.command_side import ANN, command_side
from tests.conftest import in_database
from tests.query_side import QuerySide, query_side

EXAMPLES = max(1, settings().max_examples // 5)
"""A history and all that is done with it takes a second: a fifth of what the profile says."""

COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("event"), extremes.EVENTS, st.booleans()),
        st.tuples(st.just("event"), extremes.EVENTS, st.booleans()),
        st.tuples(st.just("change"), extremes.EVENT_PATCHES, st.none()),
        st.tuples(st.just("reschedule"), extremes.PERIODS, st.none()),
        st.tuples(st.just("capacity"), extremes.SEATS, st.none()),
        st.tuples(st.just("book"), extremes.BOOKINGS, st.none()),
        st.tuples(st.just("book"), extremes.BOOKINGS, st.none()),
        st.tuples(st.just("give back"), st.none(), st.none()),
        st.tuples(st.just("cancel"), extremes.REASONS, st.none()),
        st.tuples(st.just("location"), extremes.LOCATION_PATCHES, st.none()),
        st.tuples(st.just("hall"), extremes.HALLS, st.none()),
    ),
    min_size=8,
    max_size=16,
)


class Life:
    """What has come to be, and what may be done with the last of it."""

    def __init__(self, service: CommandService) -> None:
        self._service = service
        self.events: list[str] = []
        self.locations: list[tuple[str, str]] = []
        self._bookings: list[tuple[str, str]] = []

    async def locate(self, fields: dict[str, Any]) -> None:
        """Create a location."""
        done = await accepted(self._service.create_location(ANN, take(LocationInput, fields)))
        if done and isinstance(done.answer, LocationRef):
            self.locations.append((done.answer.id, done.answer.hall_ids[0]))

    async def do(self, what: str, value: Any, in_hall: bool | None) -> None:
        """Give a command; it is accepted or refused."""
        match what:
            case "event":
                await self._create(value, bool(in_hall))
            case "location" if self.locations:
                await self._service.change_location(ANN, self.locations[-1][0], take(LocationPatchInput, value))
            case "hall" if self.locations:
                await self._service.change_hall(ANN, *self.locations[-1], take(HallInput, value))
            case "give back" if self._bookings:
                await self._service.cancel_booking(ANN, *self._bookings.pop())
            case _ if self.events:
                await self._change(what, value, self.events[-1])
            case _:
                pass

    async def _change(self, what: str, value: Any, event: str) -> None:
        match what:
            case "change":
                await self._service.change_event(ANN, event, take(EventPatchInput, value))
            case "reschedule":
                times = take(TimesInput, {"startsAt": value[0], "endsAt": value[1]})
                await self._service.reschedule_event(ANN, event, times)
            case "capacity":
                await self._service.change_capacity(ANN, event, value)
            case "cancel":
                await self._service.cancel_event(ANN, event, value)
            case "book":
                done = await self._service.book_seats(ANN, event, BookingInput(seats=value))
                assert isinstance(done.answer, BookingRef)
                self._bookings.append((event, done.answer.id))
            case _:
                pass

    async def _create(self, fields: dict[str, Any], in_hall: bool) -> None:
        place: dict[str, Any] = {"online": True}
        if in_hall and self.locations:
            location, hall = self.locations[-1]
            place = {"locationId": location, "hallId": hall, "capacity": None, "ticketTypes": []}
        done = await self._service.create_event(ANN, take(EventInput, fields | place))
        assert isinstance(done.answer, EventRef)
        self.events.append(done.answer.id)


async def accepted(command: Awaitable[Accepted]) -> Accepted | None:
    """What is accepted; None where it is refused for what it is."""
    try:
        return await command
    except Refused as refused:
        if refused.code is ErrorCode.OVERLOADED:
            raise
        return None


@given(places=st.lists(extremes.LOCATIONS, min_size=1, max_size=2), commands=COMMANDS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # To find a smaller history takes minutes; the one that failed is printed and tried again first.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
def test_no_accepted_value_stops_the_projector_a_rebuild_verify_or_a_list(
    postgres_url: str, template: str, places: list[dict[str, Any]], commands: list[tuple[str, Any, bool | None]]
) -> None:
    asyncio.run(_live(postgres_url, template, places, commands))


async def _live(
    server: str, template: str, places: list[dict[str, Any]], commands: list[tuple[str, Any, bool | None]]
) -> None:
    async with _database_in_kathmandu(server, template) as url:
        async with command_side(url) as service:
            life = Life(service)
            for place in places:
                await life.locate(place)
            for what, value, in_hall in commands:
                try:
                    await life.do(what, value, in_hall)
                except Refused as refused:
                    if refused.code is ErrorCode.OVERLOADED:
                        raise
        pool = await open_pool(url)
        with TemporaryDirectory() as directory:
            builds = EmbeddedBuilds(Path(directory))
            log = StoreLog(pool, PARTITIONS)
            try:
                await _follow(log, pool, builds)
                async with query_side(pool, builds, noticing=False) as side:
                    await _ask_everything(side, life)
            finally:
                await log.close()
                await builds.close()
                await pool.close()


async def _follow(log: StoreLog, pool: asyncpg.Pool, builds: EmbeddedBuilds) -> None:
    projector, search = Projector(log=log, pool=pool), SearchProjector(log=log, pool=pool, builds=builds)
    await projector.prepare()
    await search.prepare()
    # Twice: what was written is read again.
    for _ in range(2):
        await projector.catch_up()
    await search.catch_up()
    assert await parked_streams(pool) == []
    for model in read_models():
        assert await rebuild(model, log, pool, lambda _done, _total: None) == []
    assert await rebuild_search(log, pool, builds, lambda _done, _total: None) == []
    assert await verify(log=log, pool=pool, strict=True) == []
    assert await verify_search(log=log, pool=pool, builds=builds) == []


_EVENT = """id name description url topics status startsAt endsAt timeZone online capacity seatsBooked seatsAvailable
  seatsPerPerson createdAt updatedAt version duration location { id name city country } hall { id name }
  ticketTypes { id name price { amount currency } capacity salesStartAt salesEndAt }"""
_LISTS = [
    *(
        f"""query($after: String) {{ of: events(first: 1, after: $after, orderBy: {{field: {field}}},
          where: {{status: [PUBLISHED, CANCELLED]}}) {{
          pageInfo {{ hasNextPage endCursor }} nodes {{ {_EVENT} }} }} }}"""
        for field in ("STARTS_AT", "NAME", "CREATED_AT", "SEATS_AVAILABLE")
    ),
    """query($after: String) { of: locations(first: 1, after: $after) { pageInfo { hasNextPage endCursor }
      nodes { id name city country halls { name capacity } } } }""",
]


async def _ask_everything(side: QuerySide, life: Life) -> None:
    headers = {"MyEvents-User": ANN.user_id}
    for query in _LISTS:
        after = None
        while True:
            answer = await side.ask(query, headers, after=after)
            assert answer.status_code == 200
            assert "errors" not in answer.json(), answer.text[:2000]
            page = answer.json()["data"]["of"]["pageInfo"]
            if not page["hasNextPage"]:
                break
            after = page["endCursor"]
    for event in life.events:
        bookings = "bookings(eventId: $id) { nodes { id seats } }"
        query = f"query($id: ID!) {{ event(id: $id) {{ {_EVENT} }} {bookings} }}"
        answer = await side.ask(query, headers, id=event)
        assert "errors" not in answer.json(), answer.text[:2000]
        name = answer.json()["data"]["event"]["name"]
        for path in (f"/api/events/{event}", f"/api/events/name/{quote(name, safe='')}"):
            assert (await side.client.get(path)).status_code in (200, 404)
        found = await side.ask(
            "query($q: String!) { searchEvents(search: $q) { nodes { score event { id } } } }", q=name
        )
        assert found.status_code == 200
    for path in ("/api/events", "/api/locations", *(f"/api/locations/{location}" for location, _ in life.locations)):
        assert (await side.client.get(path)).status_code == 200


@asynccontextmanager
async def _database_in_kathmandu(server: str, template: str) -> AsyncIterator[str]:
    """A database for one history, whose own zone is far from UTC and from whole hours."""
    name = f"extreme_{uuid4().hex}"
    owner = await asyncpg.connect(server)
    await owner.execute(f"create database {name} template {template}")
    await owner.execute(f"alter database {name} set timezone = 'Asia/Kathmandu'")
    try:
        yield in_database(server, name)
    finally:
        await owner.execute(f"drop database {name} with (force)")
        await owner.close()
