"""What callers see over HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.command_side import facts_in_log
from tests.e2e.served import served

ANN = {"MyEvents-User": "usr_ann"}
JSON = {"Content-Type": "application/json"}
EVENT = {
    "name": "A talk",
    "startsAt": "2027-05-01T10:00:00+02:00",
    "endsAt": "2027-05-01T12:00:00+02:00",
    "online": True,
    "capacity": 10,
}


async def test_what_was_booked_is_seen_by_a_query_that_waits_for_it(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            event = (await client.post("/api/events", json=EVENT)).json()
            for seats in (1, 2, 3):
                booked = await client.post(f"/api/events/{event['id']}/bookings", json={"seats": seats})
                assert booked.status_code == 201
                position = {"MyEvents-Position": booked.headers["MyEvents-Position"]}
                query = "query($e: ID!, $b: ID!) { event(id: $e) { seatsBooked } booking(id: $b) { seats status } }"
                variables = {"e": event["id"], "b": booked.json()["id"]}
                answer = await client.post("/graphql", json={"query": query, "variables": variables}, headers=position)
                assert answer.json()["data"]["event"]["seatsBooked"] == seats * (seats + 1) // 2
                assert answer.json()["data"]["booking"] == {"seats": seats, "status": "CONFIRMED"}
            foreign = await client.post(
                "/graphql", json={"query": query, "variables": variables}, headers={"MyEvents-User": "usr_ben"}
            )
            assert foreign.json()["data"]["booking"] is None
            sold_out = await client.post(f"/api/events/{event['id']}/bookings", json={"seats": 5})
            assert (sold_out.status_code, sold_out.json()["code"]) == (409, "SOLD_OUT")


async def test_a_position_that_never_comes_is_answered_as_stale(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url) as client:
            answer = await client.post(
                "/graphql", json={"query": "{ events { nodes { id } } }"}, headers={"MyEvents-Position": "3:999"}
            )
    assert answer.json()["extensions"]["stale"]


async def test_a_request_waits_once_however_many_models_it_reads(database_url: str, tmp_path: Path) -> None:
    query = (
        '{ a: events { nodes { id } } b: events { nodes { id } } locations { nodes { id } } booking(id: "x") { id } }'
    )
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            answer = await client.post("/graphql", json={"query": query}, headers={"MyEvents-Position": "3:999"})
    assert answer.status_code == 200
    assert answer.json()["extensions"]["stale"]
    assert answer.json()["data"]["b"] == {"nodes": []}


async def test_what_no_route_takes_is_a_problem_document(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            asked = (("GET", "/api/events/name/%0A", 404), ("GET", "/nowhere", 404), ("DELETE", "/api/events", 405))
            for method, path, status in asked:
                answer = await client.request(method, path)
                assert (answer.status_code, answer.json()["status"]) == (status, status)
                assert answer.headers["content-type"] == "application/problem+json"


async def test_pages_forwards_and_backwards_show_the_same_list(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            # Names repeat, so that only the id tells some of them apart.
            for number in range(23):
                done = await client.post("/api/events", json=EVENT | {"name": f"Talk {number % 5}"})
            position = {"MyEvents-Position": done.headers["MyEvents-Position"]}
            query = """query($first: Int, $after: String, $last: Int, $before: String) {
              events(first: $first, after: $after, last: $last, before: $before, orderBy: {field: NAME}) {
                totalCount nodes { id name } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""

            async def walk(size: str, mark: str, end: str, more: str) -> list[list[dict[str, Any]]]:
                pages, cursor = [], None
                while True:
                    variables = {size: 4, mark: cursor}
                    got = await client.post("/graphql", json={"query": query, "variables": variables}, headers=position)
                    page = got.json()["data"]["events"]
                    assert page["totalCount"] == 23
                    pages.append(page["nodes"])
                    cursor = page["pageInfo"][end]
                    if not page["pageInfo"][more]:
                        return pages

            forwards = [node for page in await walk("first", "after", "endCursor", "hasNextPage") for node in page]
            backwards = await walk("last", "before", "startCursor", "hasPreviousPage")
            assert [node for page in reversed(backwards) for node in page] == forwards
            assert len({node["id"] for node in forwards}) == 23
            assert [node["name"] for node in forwards] == sorted(node["name"] for node in forwards)
            variables = {"first": 4, "after": "AAAA" + "B" * 30}
            forged = await client.post("/graphql", json={"query": query, "variables": variables})
            assert "cursor" in forged.json()["errors"][0]["message"]


# ruff: noqa: E501
BAD_EVENTS: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b'{"name": 5}',
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b'{"name": "\\u0000", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1}',
    b'{"name": "\\ud800", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1}',
    b'{"name": "\xff", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1}',
    b'{"name": " ", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1}',
    b'{"name": "x", "startsAt": "10000-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1}',
    b'{"name": "x", "startsAt": "9999-12-31T23:59:59-12:00", "endsAt": "9999-12-31T23:59:59Z", "online": true, "capacity": 1}',
    b'{"name": "x", "startsAt": "2027-05-01T10:00:00", "endsAt": "2027-05-01T11:00:00", "online": true, "capacity": 1}',
    b'{"name": "x", "startsAt": "2027-05-01T12:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1}',
    b'{"name": "x", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": -1}',
    b'{"name": "x", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1e400}',
    b'{"name": "x", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 99999999999999999999999}',
    b'{"name": "x", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "locationId": "\\u0000", "hallId": "x"}',
    b'{"name": "x", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "locationId": "loc_x", "hallId": "hal_x"}',
    b'{"nmae": "x", "startsAt": "2027-05-01T10:00:00Z", "endsAt": "2027-05-01T11:00:00Z", "online": true, "capacity": 1}',
    b'{"name": "' + b"x" * 2**20 + b'"}',
]


async def test_bad_input_gets_a_typed_error_and_records_nothing(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url, headers=ANN) as client:
            event = (await client.post("/api/events", json=EVENT)).json()["id"]
            before = await facts_in_log(database_url)
            for body in BAD_EVENTS:
                answer = await client.post("/api/events", content=body)
                assert answer.status_code in (400, 404, 413), (body[:100], answer.text)
                assert answer.json()["code"] in ("INVALID_INPUT", "NOT_FOUND")
                graphql = await client.post("/command", content=body, headers=JSON)
                assert graphql.status_code in (400, 413), (body[:100], graphql.text)
            impossible: tuple[object, ...] = (0, -3, 10**30, "2", None, 1.5, [], True)
            for seats in impossible:
                answer = await client.post(f"/api/events/{event}/bookings", json={"seats": seats})
                assert answer.status_code == 400, (seats, answer.text)
                assert answer.json()["path"] == ["seats"], seats
            for path in ("/api/events/%00", "/api/events/name/%00", "/api/events/" + "x" * 3000, "/api/events/%ff"):
                assert (await client.get(path)).status_code == 404
            for query in ("first=0", "first=101", "first=x", "after=x", "after=%00", "after=%F0%9F%98%80"):
                assert (await client.get(f"/api/events?{query}")).status_code == 400, query
            for headers in ({"MyEvents-User": "no spaces"}, {"Idempotency-Key": "x" * 201}):
                answer = await client.post("/api/events", json=EVENT, headers=headers)
                assert answer.status_code == 400
            anonymous = await client.post("/api/events", json=EVENT, headers={"MyEvents-User": ""})
            assert anonymous.status_code in (400, 401)
            assert await facts_in_log(database_url) == before


@pytest.mark.parametrize(
    "where",
    [
        '{name: "\\u0000"}',
        "{near: {latitude: 91, longitude: 0, radiusKm: 1}}",
        "{near: {latitude: 1e308, longitude: 0, radiusKm: 1}}",
        '{starts: {from: "2027-05-01T10:00:00"}}',
        '{starts: {from: "10000-05-01T10:00:00Z"}}',
        "{seatsAvailableAtLeast: 99999999999}",
        '{ids: ["' + "x" * 600 + '"]}',
    ],
)
async def test_a_filter_that_cannot_be_is_an_error_that_says_so(database_url: str, tmp_path: Path, where: str) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        async with httpx.AsyncClient(base_url=service.url) as client:
            answer = await client.post("/graphql", json={"query": f"{{ events(where: {where}) {{ nodes {{ id }} }} }}"})
    assert answer.status_code in (200, 400)
    assert answer.json()["errors"][0]["message"] != "Something went wrong on our side."


async def test_schemathesis_finds_no_failure(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as service:
        await service.start()
        found = await asyncio.to_thread(schemathesis, service.url, tmp_path)
    assert found.returncode == 0, found.stdout[-4000:]


def schemathesis(url: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """What schemathesis makes of the OpenAPI document and of the service behind it."""
    checks = "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance"
    return subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{url}/api/openapi.json",
            f"--checks={checks}",
            "--max-examples=25",
            "--header=MyEvents-User: usr_ann",
            "--generation-database=none",
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
