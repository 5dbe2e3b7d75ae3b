"""The answers over HTTP when the store stalls, or when something went wrong on our side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx

from command.service import CommandService
from migrations.run import migrate
from myevents.applications import commands
from myevents.telemetry.process import Telemetry
from tests.command_side import an_event, command_side, seats_in_log
from tests.private_postgres import private_postgres

BOOK = "mutation($id: ID!) { bookSeats(input: {eventId: $id, seats: 1}) { position errors { code message } } }"
ANN = {"MyEvents-User": "usr_ann"}


@asynccontextmanager
async def caller_of(service: CommandService) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the command service, over HTTP but for the network."""
    application = commands(Telemetry(service="command"), service)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=ANN) as client:
        yield client


async def test_while_the_store_stalls_callers_are_told_in_time_to_send_it_again(directory: Path) -> None:
    async with private_postgres(directory / "postgres") as server:
        await migrate(server.dsn)
        async with command_side(server.dsn) as service, caller_of(service) as client:
            event = await an_event(service)
            booking = {"url": f"/api/events/{event}/bookings", "json": {"seats": 1}}
            server.pause()
            try:
                answer = await client.post(**booking, headers={"Idempotency-Key": "rest"})  # type: ignore[arg-type]
                body = {"query": BOOK, "variables": {"id": event}}
                mutation = await client.post("/command", json=body, headers={"Idempotency-Key": "graphql"})
            finally:
                server.resume()
            assert (answer.status_code, answer.json()["code"]) == (503, "OVERLOADED")
            assert answer.headers["Retry-After"] == "1"
            assert "same Idempotency-Key" in answer.json()["detail"]
            assert (mutation.status_code, mutation.headers["Retry-After"]) == (503, "1")
            (error,) = mutation.json()["data"]["bookSeats"]["errors"]
            assert error["code"] == "OVERLOADED"
            assert "same Idempotency-Key" in error["message"]
            again = await client.post(**booking, headers={"Idempotency-Key": "rest"})  # type: ignore[arg-type]
            assert again.status_code == 201
            assert (await client.post("/command", json=body, headers={"Idempotency-Key": "graphql"})).status_code == 200
        assert await seats_in_log(server.dsn, event) == 2


async def test_what_nobody_foresaw_is_answered_by_a_problem_document_that_tells_nothing(database_url: str) -> None:
    async with command_side(database_url) as service, caller_of(service) as client:
        event = await an_event(service)
        connection = await asyncpg.connect(database_url)
        await connection.execute("alter table facts add constraint zaphod check (stream_id = '') not valid")
        await connection.close()
        answer = await client.post(f"/api/events/{event}/bookings", json={"seats": 1})
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 500
    assert "zaphod" not in answer.text
