"""What is too long is refused before it is parsed, and what is wrong is told by its first errors; nothing is a 500."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from myevents import applications
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from myevents.telemetry.process import Telemetry
from tests.command_side import command_side
from tests.query_side import query_side

GRAPHQL = "application/graphql-response+json"
DIGITS = "9" * 50_000
EVENTS = "query($w: EventWhere, $n: Int) { events(where: $w, first: $n) { nodes { id } } }"
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"


@pytest.fixture
async def clients(database_url: str, tmp_path: Path) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of commands and of queries, which see 500s."""
    async with AsyncExitStack() as stack:
        pool = await open_pool(database_url)
        stack.push_async_callback(pool.close)
        service = await stack.enter_async_context(command_side(database_url))
        search = EmbeddedBuilds(tmp_path / "search")
        stack.push_async_callback(search.close)
        application = applications.commands(Telemetry(service="command"), service)
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        commands = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://commands"))
        yield [commands, (await stack.enter_async_context(query_side(pool, search))).client]


async def refused(client: httpx.AsyncClient, path: str, document: str, variables: dict[str, Any] | None = None) -> str:
    """The message of the first error; there are at most a few, and none is ours."""
    content = {"query": document, "variables": variables}
    answer = await client.post(path, json=content, headers={"Accept": GRAPHQL})
    errors = answer.json()["errors"]
    assert (answer.status_code, "data" in answer.json()) == (400, False)
    assert len(errors) <= 11
    assert "went wrong on our side" not in answer.text
    assert len(answer.content) < 10_000
    return str(errors[0]["message"])


@pytest.mark.parametrize("path", ["/graphql", "/command", "/api/events", "/graphiql/page.js", "/", "/none"])
async def test_a_long_query_string_or_list_of_types_is_not_parsed(clients: list[httpx.AsyncClient], path: str) -> None:
    for client in clients:
        for query in ("&".join(f"a{n}=" for n in range(101)), f"query={'a' * 17_000}"):
            answer = await client.get(f"{path}?{query}")
            assert (answer.status_code, answer.json()["code"]) == (414, "INVALID_INPUT")
        for header in ("Accept", "If-None-Match"):
            answer = await client.get(path, headers={header: "a/b, " * 201})
            assert (answer.status_code, answer.json()["path"]) == (400, [header])


async def test_a_number_of_any_length_is_the_caller_s_mistake(clients: list[httpx.AsyncClient]) -> None:
    commands, queries = clients
    assert "A number" in await refused(queries, "/graphql", f"{{ events(first: {DIGITS}) {{ nodes {{ id }} }} }}")
    assert "A number" in await refused(queries, "/graphql", f"{{ node(id: {DIGITS}) {{ id }} }}")
    mutation = f'mutation {{ changeCapacity(id: "evt_a", capacity: {DIGITS}) {{ errors {{ code }} }} }}'
    assert "A number" in await refused(commands, "/command", mutation)
    for digits in (DIGITS, f"{DIGITS}.5", f"1e{DIGITS}", "9" * 400):
        content = f'{{"query": "{EVENTS}", "variables": {{"n": {digits}}}}}'
        answer = await queries.post("/graphql", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 400)
        assert "went wrong on our side" not in answer.text
        assert answer.json()["errors"]
    for digits in ("9" * 4, "9" * 15_000):
        answer = await queries.get(f"/api/events?first={digits}")
        assert (answer.status_code, answer.json()["path"]) == (400, ["first"])
    for path in ("/api/events/1", "/graphql"):
        answer = await queries.get(path, headers={"MyEvents-Position": f"1:{'9' * 5_000}"})
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")
    body = f'{{"seats": {DIGITS}}}'
    answer = await commands.post("/api/events/evt_a/bookings", content=body, headers={"MyEvents-User": "usr_ann"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")


async def test_the_first_errors_stop_the_search_for_others(clients: list[httpx.AsyncClient]) -> None:
    commands, queries = clients
    assert "invalid value at [0]" in await refused(queries, "/graphql", NODES, {"ids": [True] * 1_900})
    assert "status[0]" in await refused(queries, "/graphql", EVENTS, {"w": {"status": ["NONE"] * 1_900}})
    assert "Cannot query" in await refused(queries, "/graphql", "{ " + " ".join(f"a{n}" for n in range(900)) + " }")
    wrong = "mutation { " + " ".join(f"a{n}" for n in range(900)) + " }"
    assert "Cannot query" in await refused(commands, "/command", wrong)


async def test_variables_with_too_many_values_are_not_looked_into(clients: list[httpx.AsyncClient]) -> None:
    commands, queries = clients
    book = "mutation($i: BookSeatsInput!) { bookSeats(input: $i) { errors { code } } }"
    for variables in (
        {"ids": [1] * 20_000},
        {"ids": [[1]] * 1_001},
        {"ids": ["a"], "w": {str(n): n for n in range(2_000)}},
    ):
        assert "2,000 values" in await refused(queries, "/graphql", NODES, variables)
    lines = {"i": {"eventId": "evt_a", "lines": [{"seats": 1}] * 5_000}}
    assert "2,000 values" in await refused(commands, "/command", book, lines)


async def test_a_repeated_field_is_refused_before_validation_compares_it(clients: list[httpx.AsyncClient]) -> None:
    for client, path in zip(clients, ("/command", "/graphql"), strict=True):
        assert "repeats fields" in await refused(client, path, "{ " + "__typename " * 900 + "}")
