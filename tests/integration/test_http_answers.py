"""The statuses and headers by which clients and caches know what to do with an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

import command.rest
import myevents.graphql_http
import query.rest
from command.service import CommandService
from myevents import applications
from myevents.cli.listening import telling
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.settings import Settings
from myevents.store import open_pool
from myevents.telemetry.process import Telemetry
from projector.run import Projector
from projector.search import SearchProjector
from schema.tables import PARTITIONS
from tests.command_side import ANN, an_event, book, command_side, facts_in_log
from tests.e2e.served import free_port
from tests.query_side import query_side

GRAPHQL = "application/graphql-response+json"
AS_ANN = {"MyEvents-User": ANN.user_id}
PRIVATE = "private, no-store"
EVENTS = "{ events { nodes { id } } }"


class World:
    """Both sides over HTTP, on one database."""

    def __init__(self, database_url: str, service: CommandService, commands: httpx.AsyncClient) -> None:
        self.database_url = database_url
        self.service = service
        self.commands = commands
        self.queries: httpx.AsyncClient
        self.projector: Projector


def client_of(application: ASGIApp) -> httpx.AsyncClient:
    """A client of an application in this process, which sees its 500s."""
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """One with nothing in it."""
    async with AsyncExitStack() as stack:
        pool = await open_pool(database_url, size=8)
        stack.push_async_callback(pool.close)
        service = await stack.enter_async_context(command_side(database_url))
        application = applications.commands(Telemetry(service="command"), service)
        made = World(database_url, service, await stack.enter_async_context(client_of(application)))
        log, search = StoreLog(pool, PARTITIONS), EmbeddedBuilds(tmp_path / "search")
        stack.push_async_callback(search.close)
        made.projector = Projector(log=log, pool=pool)
        await made.projector.prepare()
        await SearchProjector(log=log, pool=pool, builds=search).prepare()
        made.queries = (await stack.enter_async_context(query_side(pool, search))).client
        yield made


@asynccontextmanager
async def locked(database_url: str, table: str) -> AsyncIterator[None]:
    """Meanwhile nobody else can read or write the table."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(f"lock table {table} in access exclusive mode")
            yield
    finally:
        await connection.close()


@pytest.mark.parametrize(("accept", "status"), [(GRAPHQL, 400), ("application/json", 200)])
@pytest.mark.parametrize("name", [{}, {"operationName": None}, {"operationName": ""}])
async def test_of_several_operations_none_is_run_unless_it_is_named(
    world: World, accept: str, status: int, name: dict[str, str | None]
) -> None:
    event = await an_event(world.service)
    before = await facts_in_log(world.database_url)
    document = (
        f'mutation A {{ cancelEvent(id: "{event}") {{ errors {{ code }} }} }}'
        f'mutation B {{ publishEvent(id: "{event}") {{ errors {{ code }} }} }}'
    )
    headers = AS_ANN | {"Accept": accept}
    refused = await world.commands.post("/command", json={"query": document, **name}, headers=headers)
    assert refused.status_code == status
    assert "data" not in refused.json()
    assert "operationName" in refused.json()["errors"][0]["message"]
    assert await facts_in_log(world.database_url) == before
    queries = {"query": "query A { events { nodes { id } } } query B { __typename }", **name}
    refused = await world.queries.post("/graphql", json=queries, headers=headers)
    assert (refused.status_code, "data" in refused.json()) == (status, False)
    named = await world.queries.post("/graphql", json=queries | {"operationName": "B"}, headers=headers)
    assert named.json()["data"] == {"__typename": "Query"}


async def test_a_command_without_an_answer_in_time_is_to_be_sent_again_with_the_same_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await an_event(world.service)
    monkeypatch.setattr(myevents.graphql_http, "DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(command.rest, "DEADLINE_SECONDS", 0.2)
    mutation = f'mutation {{ bookSeats(input: {{ eventId: "{event}", seats: 1 }}) {{ booking {{ id }} }} }}'
    async with locked(world.database_url, "heads"):
        rest = await world.commands.post(f"/api/events/{event}/bookings", json={"seats": 1}, headers=AS_ANN)
        graphql = await world.commands.post("/command", json={"query": mutation}, headers=AS_ANN)
    assert (rest.status_code, rest.headers["content-type"]) == (503, "application/problem+json")
    assert rest.json()["code"] == "OVERLOADED"
    assert "same Idempotency-Key" in rest.json()["detail"]
    [error] = graphql.json()["errors"]
    assert (graphql.status_code, error["extensions"]) == (503, {"code": "OVERLOADED", "retryAfter": 1.0})
    assert "same Idempotency-Key" in error["message"]
    assert (rest.headers["Retry-After"], graphql.headers["Retry-After"]) == ("1", "1")


async def test_a_query_without_an_answer_in_time_is_to_be_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(myevents.graphql_http, "DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(query.rest, "DEADLINE_SECONDS", 0.2)
    table = await _table(world.database_url)
    async with locked(world.database_url, table):
        rest = await world.queries.get("/api/events")
        graphql = await world.queries.get("/graphql", params={"query": EVENTS})
    assert (rest.status_code, rest.json()["code"], rest.headers["Retry-After"]) == (503, "OVERLOADED", "1")
    [error] = graphql.json()["errors"]
    assert (graphql.status_code, error["extensions"]) == (503, {"code": "OVERLOADED", "retryAfter": 1.0})
    assert graphql.headers["Retry-After"] == "1"


@pytest.mark.parametrize("accept", [GRAPHQL, "application/json"])
async def test_an_answer_without_data_for_want_of_a_server_is_one_that_clients_ask_for_again(
    world: World, accept: str
) -> None:
    table = await _table(world.database_url)
    async with locked(world.database_url, table):
        answer = await world.queries.post("/graphql", json={"query": EVENTS}, headers={"Accept": accept})
        part = '{ __typename event(id: "evt_a") { id } }'
        partial = await world.queries.post("/graphql", json={"query": part}, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["data"] is None
    assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {"OVERLOADED"}
    assert (partial.status_code, partial.json()["data"]) == (200, {"__typename": "Query", "event": None})


async def _table(database_url: str) -> str:
    """The table of the live build of events."""
    connection = await asyncpg.connect(database_url)
    try:
        found: str = await connection.fetchval(
            "select tablename from pg_tables where tablename like 'events%' order by tablename desc limit 1"
        )
        schema: str = await connection.fetchval("select schemaname from pg_tables where tablename = $1", found)
    finally:
        await connection.close()
    return f'"{schema}"."{found}"'


async def test_no_cache_in_front_keeps_what_is_for_one_caller(world: World) -> None:
    event = await an_event(world.service)
    await book(world.service, event, 1)
    await world.projector.catch_up()
    bookings = f'{{ bookings(eventId: "{event}") {{ nodes {{ id }} }} }}'
    for text in (bookings, EVENTS, "{ nothing }"):
        for headers in (AS_ANN, {}):
            # The second answer is one that was kept.
            for _ in range(2):
                answer = await world.queries.get("/graphql", params={"query": text}, headers=headers)
                wanted = PRIVATE if headers or text == "{ nothing }" else "no-cache"
                assert answer.headers["Cache-Control"] == wanted, (text, headers)
                vary = {name.strip() for name in answer.headers["Vary"].split(",")}
                assert vary >= {"Accept", "MyEvents-User", "MyEvents-Position"}
    for path, wanted in (("/api/events", "no-cache"), (f"/api/events/{event}", "no-cache"), ("/api/events/a", PRIVATE)):
        for _ in range(2):
            answer = await world.queries.get(path)
            assert answer.headers["Cache-Control"] == wanted
    assert (await world.queries.get("/api/events")).headers["Vary"] == "MyEvents-Position"


async def test_no_cache_keeps_the_answer_to_a_command(world: World) -> None:
    event = await an_event(world.service)
    path = f"/api/events/{event}/bookings"
    answers = [
        await world.commands.post(path, json={"seats": 1}, headers=AS_ANN),
        await world.commands.post(path, json={"seats": "one"}, headers=AS_ANN),
        await world.commands.post(path, json={"seats": 1}),
        await world.commands.post("/command", json={"query": "mutation { publishEvent(id: 1) { event { id } } }"}),
        await world.commands.post("/command", json={"query": "{ health }"}),
        await world.commands.get("/command", params={"query": "{ health }"}),
        await world.commands.post("/command", json={}),
    ]
    assert [answer.status_code for answer in answers] == [201, 400, 401, 200, 200, 200, 400]
    assert {answer.headers["Cache-Control"] for answer in answers} == {PRIVATE}


async def test_no_answer_is_taken_for_another_type_than_it_says(world: World) -> None:
    paths = ["/healthz", "/readyz", "/api/openapi.json", "/graphiql/page.js", "/graphiql/none", "/none", "/command"]
    for application in (world.commands, world.queries):
        for path in (*paths, "/graphql", "/api/events", "/api/events?first=0"):
            for method in ("GET", "POST", "DELETE", "HEAD"):
                answer = await application.request(method, path)
                assert answer.headers["X-Content-Type-Options"] == "nosniff", (method, path)
                assert "Cache-Control" in answer.headers, (method, path)


async def test_an_unforeseen_error_too_says_that_nobody_may_keep_it() -> None:
    async def fail(_: object) -> None:
        raise RuntimeError

    inner = Starlette(routes=[Route("/fails", fail)])
    application = applications._application(Telemetry(service="any"), [], {}, lambda _: inner)
    async with client_of(application) as client:
        answer = await client.get("/fails")
    assert answer.status_code == 500
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == ("nosniff", PRIVATE)


async def test_a_body_that_does_not_come_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(myevents.graphql_http, "DEADLINE_SECONDS", 0.2)
    monkeypatch.setattr(command.rest, "DEADLINE_SECONDS", 0.2)

    async def hesitant() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    headers = AS_ANN | {"Content-Type": "application/json"}
    for client, path in ((world.commands, "/api/events"), (world.commands, "/command"), (world.queries, "/graphql")):
        answer = await client.post(path, content=hesitant(), headers=headers)
        assert (answer.status_code, answer.json()["path"]) == (408, ["body"])


async def test_the_port_of_metrics_too_says_that_nobody_may_keep_or_guess_at_its_answers() -> None:
    port = free_port()
    settings = Settings(metrics_port=port, metrics_port_is_given=True)
    async with telling(settings, Telemetry(service="any")), httpx.AsyncClient() as client:
        for path in ("/metrics", "/healthz", "/readyz", "/none"):
            answer = await client.get(f"http://127.0.0.1:{port}{path}")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == PRIVATE
        long = await client.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "a/b," * 251})
        assert long.status_code == 400
