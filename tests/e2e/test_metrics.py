"""What an operator's Prometheus sees of the services."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from schema.ids import partition_of
from schema.tables import PARTITIONS
from tests.command_side import an_event, command_side
from tests.e2e.served import Served, free_port, served, until
from tests.e2e.test_serving import ANN, EVENT
from tests.kafka_topics import NEEDS_KAFKA, own_topic, url_of


class Watched:
    """A service with a port for its metrics."""

    def __init__(self, service: Served, port: int) -> None:
        self.service = service
        self.port = port

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """What the port of its metrics answers."""
        async with httpx.AsyncClient(timeout=10, headers=headers) as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}")

    async def value(self, name: str, **labels: str) -> float | None:
        """A sample; None where there is none."""
        text = (await self.get("/metrics")).text
        found = [s.value for family in parse(text) for s in family.samples if (s.name, s.labels) == (name, labels)]
        assert len(found) <= 1
        return found[0] if found else None


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Iterator[dict[str, Watched]]:
    """Each service of its own, not started yet."""
    with ExitStack() as exits:

        def watched(name: str) -> Watched:
            port = free_port()
            settings = {"MYEVENTS_METRICS_PORT": str(port)}
            return Watched(exits.enter_context(served(database_url, tmp_path, name, settings)), port)

        yield {name: watched(name) for name in ("command", "projector", "query")}


async def book(client: httpx.AsyncClient, event: str, seats: int, **headers: str) -> int:
    """Book; the status."""
    return (await client.post(f"/api/events/{event}/bookings", json={"seats": seats}, headers=headers)).status_code


async def test_it_is_told_how_many_answers_were_kept(services: dict[str, Watched]) -> None:
    query = services["query"]
    await query.service.start()
    async with httpx.AsyncClient(base_url=query.service.url) as client:
        for _ in range(10):
            assert (await client.get("/api/events")).json() == {"nodes": [], "next": None}
        await client.get("/api/events", headers={"Cache-Control": "no-cache"})
    told = {
        outcome: await query.value("myevents_cache_requests_total", cache="answers", outcome=outcome)
        for outcome in ("hit", "miss", "bypass", "error")
    }
    assert told["bypass"] == 1
    assert (told["hit"] or 0) + (told["miss"] or 0) == 10
    assert (told["hit"] or 0) >= 7
    assert told["error"] == 0


async def test_bookings_are_counted_by_event_and_commands_by_how_they_ended(services: dict[str, Watched]) -> None:
    command = services["command"]
    await command.service.start()
    async with httpx.AsyncClient(base_url=command.service.url, headers=ANN) as client:
        event = (await client.post("/api/events", json=EVENT | {"name": 'A "hot" talk'})).json()["id"]
        statuses = [await book(client, event, seats) for seats in (1, 1, 5)]
        statuses += [await book(client, event, 2, **{"Idempotency-Key": "k"}) for _ in range(3)]
        statuses += [await book(client, event, 7)]
        assert statuses == [201, 201, 201, 201, 201, 201, 409]
    assert await command.value("myevents_bookings_count", eventID=event, eventName='A "hot" talk') == 4
    assert await command.value("myevents_seats_per_booking_sum") == 1 + 1 + 5 + 2
    assert await command.value("myevents_seats_per_booking_bucket", le="1.0") == 2
    for outcome, times in (("accepted", 4), ("repeated", 2), ("SOLD_OUT", 1)):
        assert await command.value("myevents_commands_total", command="BookSeats", outcome=outcome) == times
    assert await command.value("myevents_command_queue_depth", partition="0") == 0
    assert await command.value("myevents_round_size_sum") == 8
    assert await command.value("myevents_commit_seconds_count") == await command.value("myevents_round_size_count")
    used, idle, limit = [
        await command.value("myevents_pool_connections", pool="database", state=s) for s in ("used", "idle", "limit")
    ]
    assert used is not None
    assert idle is not None
    assert 1 <= used + idle <= (limit or 0) == 24


async def test_requests_are_counted_by_route_and_never_by_what_callers_write_in_a_path(
    services: dict[str, Watched],
) -> None:
    command = services["command"]
    await command.service.start()
    async with httpx.AsyncClient(base_url=command.service.url, headers=ANN) as client:
        for path in ("/api/events/evt_ann/bookings", "/api/events/mail@example.org/bookings"):
            assert (await client.post(path, json={"seats": 1})).status_code == 404
        assert (await client.get("/ann@example.org")).status_code == 404
        assert (await client.request("PROPFIND", "/api/events")).status_code == 405
        await client.post("/command", json={"query": "{ health }"})
    told = (await command.get("/metrics")).text
    assert "ann" not in told.replace("channel", "")
    assert "example" not in told
    count = "myevents_http_requests_total"
    booking = {"service": "command", "route": "/api/events/{id}/bookings"}
    assert await command.value(count, method="POST", status="404", **booking) == 2
    assert await command.value("myevents_http_request_seconds_count", **booking) == 2
    assert await command.value(count, service="command", method="GET", route="unmatched", status="404") == 1
    assert await command.value(count, service="command", method="other", route="/api/events", status="405") == 1
    assert await command.value("myevents_graphql_cost_count") == 1


async def test_the_lag_grows_while_the_projector_is_away_and_is_none_once_it_is_back(
    services: dict[str, Watched],
) -> None:
    command, projector, query = services.values()
    await asyncio.gather(*(each.service.start() for each in services.values()))
    async with httpx.AsyncClient(base_url=command.service.url, headers=ANN) as client:
        await client.post("/api/events", json=EVENT)
    models = ("bookings", "events", "locations", "search")

    async def lags(of: Watched, what: str = "lag_seconds") -> list[float]:
        return [await of.value(f"myevents_projector_{what}", model=model) or 0.0 for model in models]

    async def caught_up() -> bool:
        return await lags(projector, "lag_facts") == [0, 0, 0, 0] and not any(await lags(projector))

    async def able() -> bool:
        return (await projector.get("/readyz")).status_code == 200

    await until(lambda: projector.value("myevents_facts_applied_total", model="search"))
    await until(caught_up)
    await until(able)
    assert await projector.value("myevents_facts_applied_total", model="events") == 2
    assert await projector.value("myevents_parked_streams", model="events") == 0
    assert (await projector.get("/healthz")).status_code == 200
    projector.service.kill()

    async def seen_behind() -> bool:
        return min(await lags(query)) > 4 and min(await lags(query, "heartbeat_age_seconds")) > 4

    async def seen_back() -> bool:
        return not any(await lags(query)) and max(await lags(query, "heartbeat_age_seconds")) < 3

    await until(seen_behind)
    await projector.service.start()
    await until(seen_back)


@NEEDS_KAFKA
async def test_a_relay_tells_what_it_leads_has_sent_and_lacks(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with own_topic() as address:
        settings = {"MYEVENTS_LOG_URL": url_of(address), "MYEVENTS_METRICS_PORT": str(port)}
        with served(database_url, tmp_path, "relay", settings) as service:
            relay = Watched(service, port)
            await service.start()
            async with command_side(database_url) as commands:
                event = await an_event(commands)
            number = str(partition_of(event, PARTITIONS))

            async def sent() -> bool:
                return await relay.value("myevents_relay_sent_total", partition=number) == 2

            async def able() -> bool:
                return (await relay.get("/readyz")).status_code == 200

            await until(sent)
            await until(able)
            assert await relay.value("myevents_relay_lag_facts", partition=number) == 0
            assert await relay.value("myevents_audit_differences", partition=number) == 0
            leads = [await relay.value("myevents_relay_leads", partition=str(other)) for other in range(PARTITIONS)]
            assert leads == [1] * PARTITIONS
            assert (await relay.get("/healthz")).status_code == 200


async def test_metrics_are_told_on_their_own_port_alone(services: dict[str, Watched]) -> None:
    query = services["query"]
    await query.service.start()
    async with httpx.AsyncClient(base_url=query.service.url) as client:
        assert (await client.get("/metrics")).status_code == 404
    assert (await query.get("/graphql?query={__typename}")).status_code == 404
    answer = await query.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"myevents_http_requests", "myevents_graphql_cost"}


async def test_a_port_for_metrics_that_was_asked_for_must_be_had(services: dict[str, Watched]) -> None:
    query = services["query"]
    with socket.create_server(("127.0.0.1", query.port)), pytest.raises(AssertionError, match="MYEVENTS_METRICS_PORT"):
        await query.service.start()
