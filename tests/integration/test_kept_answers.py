"""An answer that was given before is given again only while it is still the right one, and to whom it may be shown."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from msgspec import Struct

from command.inputs import BookingInput, take
from command.service import CommandService
from myevents.cache.memory import MemoryCache
from myevents.cache.port import Cache
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from projector.run import Projector
from projector.search import SearchProjector
from query.answers import Question
from schema.tables import PARTITIONS
from tests.command_side import ANN, BEN, a_location, an_event, command_side
from tests.query_side import AFRESH, QuerySide, query_side

NOBODY: dict[str, str] = {}
AS_ANN = {"MyEvents-User": ANN.user_id}
AS_BEN = {"MyEvents-User": BEN.user_id}
SEATS = "query($id: ID!) { event(id: $id) { seatsBooked version } }"


class World(Struct, frozen=True, kw_only=True):
    """A command side, and read models that follow when they are told to."""

    pool: asyncpg.Pool
    commands: CommandService
    projector: Projector
    searcher: SearchProjector
    search: EmbeddedBuilds
    stack: AsyncExitStack

    async def follow(self) -> None:
        """Bring the read models and the index up to the log's end."""
        await self.projector.catch_up()
        await self.searcher.catch_up()

    async def process(self, far: Cache | None = None, *, noticing: bool = True) -> QuerySide:
        """One process of queries."""
        return await self.stack.enter_async_context(query_side(self.pool, self.search, far, noticing=noticing))

    async def book(self, event: str, seats: int = 1) -> str:
        """The position after a booking of Ann's."""
        return (await self.commands.book_seats(ANN, event, take(BookingInput, {"seats": seats}))).position


@pytest.fixture
async def world(database_url: str, tmp_path: Path, stack: AsyncExitStack) -> World:
    """One with nothing in it."""
    pool = await open_pool(database_url, size=16)
    stack.push_async_callback(pool.close)
    commands = await stack.enter_async_context(command_side(database_url))
    log = StoreLog(pool, PARTITIONS)
    search = EmbeddedBuilds(tmp_path / "search")
    stack.push_async_callback(search.close)
    made = World(
        pool=pool,
        commands=commands,
        projector=Projector(log=log, pool=pool),
        searcher=SearchProjector(log=log, pool=pool, builds=search),
        search=search,
        stack=stack,
    )
    await made.projector.prepare()
    await made.searcher.prepare()
    return made


async def told(process: QuerySide, query: str, **variables: Any) -> Any:
    """The answer's data."""
    answer = (await process.ask(query, **variables)).json()
    assert "errors" not in answer, answer
    return answer["data"]


async def shows(process: QuerySide, event: str, seats: int) -> None:
    """Wait until so many seats are shown as booked; fail after many seconds."""
    for _ in range(200):
        if (await told(process, SEATS, id=event))["event"]["seatsBooked"] == seats:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it is not shown")


QUERIES = [
    "{ events(first: 3) { totalCount edges { cursor node { id name location { city } hall { name } } } } }",
    "{ events(last: 2, orderBy: {field: NAME, direction: DESC}) { nodes { id } pageInfo { endCursor hasNextPage } } }",
    "{ locations { totalCount nodes { name halls { id capacity } events { nodes { id seatsAvailable } } } } }",
    '{ searchEvents(search: "talk") { totalCount didYouMean nodes { highlights score event { id seatsBooked } }'
    " facets(fields: [TOPIC]) { buckets { value count } } } }",
    '{ suggestEvents(prefix: "ta") { text event { id } } }',
    "query($id: ID!) { event(id: $id) { name status } node(id: $id) { id } }",
    "query($id: ID!) { nodes(ids: [$id, $location, $booking]) { __typename id } }".replace(
        "($id: ID!)", "($id: ID!, $location: ID!, $booking: ID!)"
    ),
    "query($draft: ID!) { event(id: $draft) { name } }",
    "query($booking: ID!) { booking(id: $booking) { seats event { name } } }",
    "query($id: ID!) { bookings(eventId: $id) { totalCount nodes { seats status } } events { totalCount } }",
    "query($location: ID!) { location(id: $location) { name events(first: 1) { nodes { name } } } }",
    '{ location(id: "loc_none") { events { totalCount } } }',
    "query($id: ID!, $yes: Boolean = true) { event(id: $id) { name @skip(if: $yes) id } }",
    "{ events(first: 1000) { nodes { id } } }",
    "{ event(id: 7) { nothing } }",
    '{ locations { nodes { id } } events(after: "bad") { nodes { id } } }',
    "{ __typename }",
    "{ __schema { queryType { name } } }",
    "query A { __typename } query B { events { totalCount } }",
    "{ events {",
]
PATHS = ["/api/events", "/api/events?first=1", "/api/events/{id}", "/api/events/id/{draft}", "/api/events/name/A talk"]
PATHS += ["/api/locations", "/api/locations/{location}", "/api/events/evt_none", "/api/events?first=0"]


async def variables_of(world: World) -> dict[str, str]:
    """The ids of some things that there are."""
    location, halls = await a_location(world.commands, 100)
    event = await an_event(world.commands)
    draft = await an_event(world.commands, name="Not yet", publish=False)
    await an_event(world.commands, name="A third talk", topics=["talk"])
    there = {"online": None, "locationId": location, "hallId": halls[0]}
    await an_event(world.commands, name="Another talk", **there)
    booked = await world.commands.book_seats(ANN, event, take(BookingInput, {"seats": 2}))
    booking: str = getattr(booked.answer, "id", "")
    await world.follow()
    return {"id": event, "draft": draft, "location": location, "booking": booking}


def shown(answer: httpx.Response) -> tuple[int, str, bytes]:
    """What a caller is given."""
    return answer.status_code, answer.headers["content-type"], answer.content


async def test_every_query_is_answered_from_memory_as_it_is_answered_anew(world: World) -> None:
    variables = await variables_of(world)
    one, other = await world.process(far := MemoryCache()), await world.process(far)
    oracle = await world.process()
    for _ in range(2):
        for who in (NOBODY, AS_ANN, AS_BEN, {"Accept": "application/graphql-response+json"}):
            for query in QUERIES:
                anew = shown(await oracle.ask(query, {**who, **AFRESH}, **variables))
                for process in (one, other, one, other):
                    assert shown(await process.ask(query, who, **variables)) == anew, (query, who)
        for path in PATHS:
            anew = shown(await oracle.client.get(path.format(**variables), headers=AFRESH))
            for process in (one, other, one, other):
                assert shown(await process.client.get(path.format(**variables))) == anew, path
        await world.book(variables["id"])
        await world.follow()
        await asyncio.sleep(0.2)
    assert one.outcome("hit") > 100
    assert other.outcome("shared") > 40


async def test_nobody_is_shown_what_was_answered_to_another(world: World) -> None:
    variables = await variables_of(world)
    process = await world.process()
    mine = "query($id: ID!) { bookings(eventId: $id) { nodes { seats } } }"
    draft = "query($draft: ID!) { event(id: $draft) { name } }"
    for _ in range(3):
        answers = [(await process.ask(mine, who, **variables)).json()["data"] for who in (AS_ANN, AS_BEN, NOBODY)]
        assert answers == [{"bookings": {"nodes": [{"seats": 2}]}}, {"bookings": {"nodes": []}}, {"bookings": None}]
        answers = [(await process.ask(draft, who, **variables)).json()["data"] for who in (AS_BEN, NOBODY)]
        assert answers == [{"event": {"name": "Not yet"}}, {"event": None}]
    assert process.outcome("hit") > 0


async def test_what_was_booked_is_seen_at_once_with_its_position(world: World) -> None:
    event = await an_event(world.commands)
    await world.follow()
    process = await world.process(noticing=False)
    for seats in range(1, 6):
        for _ in range(3):
            assert (await told(process, SEATS, id=event))["event"]["seatsBooked"] == seats - 1
        position = await world.book(event)
        following = asyncio.create_task(world.follow())
        answer = (await process.ask(SEATS, {"MyEvents-Position": position}, id=event)).json()
        assert answer["data"]["event"]["seatsBooked"] == seats
        assert "stale" not in answer.get("extensions", {})
        await following


async def test_what_one_query_showed_no_other_takes_back(world: World) -> None:
    event = await an_event(world.commands)
    await world.follow()
    process = await world.process(noticing=False)
    for seats in range(1, 10):
        for _ in range(2):
            await process.client.get("/api/events")
            await told(process, SEATS, id=event)
        await world.book(event)
        await world.follow()
        shown = await process.client.get(f"/api/events/{event}", headers=AFRESH)
        assert shown.json()["seatsBooked"] == seats
        assert (await process.client.get("/api/events")).json()["nodes"][0]["seatsBooked"] == seats
        assert (await told(process, SEATS, id=event))["event"]["seatsBooked"] == seats


@pytest.mark.parametrize("noticing", [True, False])
async def test_what_was_booked_is_seen_without_a_position_soon_after(world: World, noticing: bool) -> None:
    event = await an_event(world.commands)
    await world.follow()
    process = await world.process(noticing=noticing)
    for seats in range(1, 4):
        await world.book(event)
        await world.follow()
        await shows(process, event, seats)
    assert process.outcome("miss") <= 8, "it was made again without need"


async def test_a_notice_alone_lets_lists_and_searches_show_what_is_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await an_event(world.commands)
    await world.follow()
    process = await world.process()
    # What is known never grows old, and a kept search is not made again for its age.
    monkeypatch.setattr("query.versions.AGE", 3600.0)
    monkeypatch.setattr("query.answers.UNSETTLED_TTL", 3600.0)
    search = '{ searchEvents(search: "talk") { nodes { event { seatsBooked } } } }'
    for seats in range(1, 4):
        for _ in range(3):
            await told(process, SEATS, id=event)
            await told(process, search)
        await world.book(event)
        await world.follow()
        for _ in range(200):
            found = (await told(process, search))["searchEvents"]["nodes"][0]["event"]["seatsBooked"]
            if found == seats:
                break
            await asyncio.sleep(0.05)
        assert found == seats
        await shows(process, event, seats)
    assert process.outcome("hit") >= 6


async def test_an_answer_that_is_stale_or_wrong_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("query.position.PATIENCE", 0.05)
    event = await an_event(world.commands)
    await world.follow()
    process = await world.process()
    await told(process, SEATS, id=event)
    position = await world.book(event)
    answer = (await process.ask(SEATS, {"MyEvents-Position": position}, id=event)).json()
    assert (answer["data"]["event"]["seatsBooked"], answer["extensions"]["stale"]) == (0, True)
    for _ in range(2):
        assert "stale" not in (await process.ask(SEATS, id=event)).json()["extensions"]
    await world.follow()
    answer = (await process.ask(SEATS, {"MyEvents-Position": position}, id=event)).json()
    assert (answer["data"]["event"]["seatsBooked"], answer["extensions"].get("stale")) == (1, None)


async def test_a_stream_that_was_set_aside_shows_once_it_is_taken_in(world: World) -> None:
    event = await an_event(world.commands)
    await world.follow()
    process = await world.process()
    await world.pool.execute(
        """insert into read.parked_streams (model, build, stream_id, partition, seq, reason)
           values ('events', 1, $1, 0, 1, '')""",
        event,
    )
    for _ in range(3):
        assert (await told(process, SEATS, id=event))["event"]["seatsBooked"] == 0
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("update read.events_1 set seats_booked = 3")
        await connection.execute("delete from read.parked_streams")
    await shows(process, event, 3)


async def test_those_who_ask_the_same_at_once_are_answered_by_one_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is: one process makes it, the other waits.
    monkeypatch.setattr("query.answers.PATIENCE", 20.0)
    monkeypatch.setattr("query.answers.CLAIM", 20.0)
    event = await an_event(world.commands)
    await world.follow()
    one, other = await world.process(far := MemoryCache()), await world.process(far)
    for process in (one, other):
        await told(process, SEATS, id=event)
    for _ in range(5):
        await world.book(event)
        await world.follow()
        await asyncio.sleep(0.1)
        before = one.outcome("miss") + other.outcome("miss")
        answers = await asyncio.gather(*(told((one, other)[n % 2], SEATS, id=event) for n in range(40)))
        assert len({answer["event"]["seatsBooked"] for answer in answers}) == 1
        assert one.outcome("miss") + other.outcome("miss") == before + 1


async def test_a_caller_who_goes_away_takes_nobody_along(world: World) -> None:
    event = await an_event(world.commands)
    await world.follow()
    process = await world.process()
    for _ in range(2):
        callers = [asyncio.create_task(told(process, SEATS, id=event)) for _ in range(10)]
        for _ in range(200):
            await asyncio.sleep(0)
            if process.answers._flights:
                break
        callers[0].cancel()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(answer["event"]["seatsBooked"] == 0 for answer in answers[1:] if isinstance(answer, dict))
        assert sum(isinstance(answer, dict) for answer in answers) == 9
        await world.book(event)
        await world.follow()
        event = await an_event(world.commands)
        await world.follow()
        await told(process, SEATS, id=event)
    # When all go away, so does the work.
    caller = asyncio.create_task(told(process, "{ events { totalCount nodes { name } } }"))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    await asyncio.sleep(0.1)
    assert not process.answers._flights
    assert not process.answers._tasks


async def test_every_model_that_is_read_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an answer would be kept although what it was made of has changed."""
    variables = await variables_of(world)
    process = await world.process()
    read: set[str] = set()
    fetch = asyncpg.Pool.fetch

    async def watched(self: asyncpg.Pool, statement: str, *values: Any, **options: Any) -> Any:
        read.update(model for model in ("events", "locations", "bookings") if f"from read.{model}" in statement.lower())
        return await fetch(self, statement, *values, **options)

    told_of: list[set[str]] = []
    made = process.answers._made

    async def noted(request: bytes, question: Question, make: Any) -> Any:
        outcome = await made(request, question, make)
        told_of.append(question.position.used.models)
        return outcome

    monkeypatch.setattr(asyncpg.Pool, "fetch", watched)
    monkeypatch.setattr(process.answers, "_made", noted)
    for who in (NOBODY, AS_ANN):
        for query in QUERIES:
            read.clear()
            told_of.clear()
            await process.ask(query, {**who, **AFRESH}, **variables)
            assert read <= told_of[0], query
            assert ("search" in told_of[0]) == ("searchEvents" in query or "suggestEvents" in query)
    for path in PATHS:
        read.clear()
        told_of.clear()
        await process.client.get(path.format(**variables), headers=AFRESH)
        assert read <= told_of[0], path
