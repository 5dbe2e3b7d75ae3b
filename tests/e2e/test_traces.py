"""A booking's trace, from the call over HTTP to the read models that show it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.e2e.otlp import Receiver, receiver
from tests.e2e.served import Served, served, until
from tests.e2e.test_serving import ANN, EVENT
from tests.kafka_topics import NEEDS_KAFKA, own_topic, url_of

CALLER_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Receiver]:
    """What spans are sent to."""
    with receiver() as made:
        yield made


class Services:
    """Command and projector, which send all their traces."""

    def __init__(
        self,
        database_url: str,
        directory: Path,
        url: str,
        exits: ExitStack,
        *,
        ratio: str = "1",
        more: Mapping[str, str] | None = None,
    ) -> None:
        # A test stands for the proxy that is trusted.
        own = {"MYEVENTS_TRUSTED_PROXIES": "127.0.0.1", "MYEVENTS_TRACES_RATIO": ratio}
        settings = {"MYEVENTS_TRACES_URL": url, **own, **(more or {})}
        self.command = exits.enter_context(served(database_url, directory, "command", settings))
        self.projector = exits.enter_context(served(database_url, directory, "projector", settings))

    async def start(self) -> None:
        """Both."""
        await asyncio.gather(self.command.start(), self.projector.start())

    async def book(self, **headers: str) -> httpx.Response:
        """Book a seat of a new event; `headers` come with the booking alone."""
        async with httpx.AsyncClient(base_url=self.command.url, headers=ANN) as client:
            event = (await client.post("/api/events", json=EVENT)).json()["id"]
            return await client.post(f"/api/events/{event}/bookings", json={"seats": 1}, headers=headers)


@pytest.fixture
def services(database_url: str, tmp_path: Path, collector: Receiver) -> Iterator[Services]:
    """Not started yet."""
    with ExitStack() as exits:
        yield Services(database_url, tmp_path, collector.url, exits)


async def test_one_trace_leads_from_the_callers_span_through_the_booking_to_the_read_models(
    services: Services, collector: Receiver, database_url: str
) -> None:
    await services.start()
    answer = await services.book(traceparent=f"00-{CALLER_TRACE}-{CALLER_SPAN}-01")
    assert answer.status_code == 201

    async def shown() -> bool:
        names = {span.name for span in collector.spans if span.trace == CALLER_TRACE}
        return names >= {
            "POST /api/events/{id}/bookings",
            "BookSeats",
            "apply bookings",
            "apply events",
            "apply search",
        }

    await until(shown)
    spans = {span.name: span for span in collector.spans if span.trace == CALLER_TRACE}
    call, command, applied = spans["POST /api/events/{id}/bookings"], spans["BookSeats"], spans["apply bookings"]
    assert (call.service, call.parent) == ("command", CALLER_SPAN)
    assert call.attributes["http.response.status_code"] == "201"
    assert (command.service, command.parent) == ("command", call.span)
    assert (applied.service, applied.parent) == ("projector", command.span)
    assert call.begun <= command.begun <= command.ended <= call.ended
    assert applied.begun <= applied.ended
    connection = await asyncpg.connect(database_url)
    kept = await connection.fetchval("select metadata ->> 'traceparent' from facts where type = 'SeatsBooked'")
    await connection.close()
    assert kept == f"00-{CALLER_TRACE}-{command.span}-01"
    rounds = [span for span in collector.named("round") if (CALLER_TRACE, command.span) in span.links]
    assert [span.attributes["myevents.commands"] for span in rounds] == [1]


@NEEDS_KAFKA
async def test_a_trace_goes_on_behind_kafka(database_url: str, tmp_path: Path, collector: Receiver) -> None:
    async with own_topic() as address:
        through = {"MYEVENTS_LOG_URL": url_of(address)}
        with ExitStack() as exits:
            relay = exits.enter_context(served(database_url, tmp_path, "relay", through))
            await relay.start()
            services = Services(database_url, tmp_path, collector.url, exits, more=through)
            await services.start()
            assert (await services.book()).status_code == 201

            async def shown() -> bool:
                (command,) = collector.named("BookSeats") or (None,)
                applied = {span.name for span in collector.spans if command and span.parent == command.span}
                return applied >= {"apply bookings", "apply events", "apply search"}

            await until(shown)


async def test_each_call_without_a_caller_s_trace_begins_one_of_its_own(
    services: Services, collector: Receiver
) -> None:
    await services.start()
    for traceparent in ("", "00-junk", f"00-{'0' * 32}-{CALLER_SPAN}-01"):
        assert (await services.book(traceparent=traceparent)).status_code == 201
    name = "POST /api/events/{id}/bookings"

    async def shown() -> bool:
        return len(collector.named(name)) == 3

    await until(shown)
    calls = collector.named(name)
    assert len({call.trace for call in calls}) == 3
    assert {call.parent for call in calls} == {""}


async def test_nobody_but_a_trusted_proxy_says_which_trace_a_call_belongs_to(
    database_url: str, tmp_path: Path, collector: Receiver
) -> None:
    with ExitStack() as exits:
        services = Services(database_url, tmp_path, collector.url, exits, more={"MYEVENTS_TRUSTED_PROXIES": ""})
        await services.start()
        assert (await services.book(traceparent=f"00-{CALLER_TRACE}-{CALLER_SPAN}-01")).status_code == 201
        await until(lambda: _any(collector, "BookSeats"))
        services.command.stop()
    [call] = collector.named("POST /api/events/{id}/bookings")
    assert (call.parent, call.trace == CALLER_TRACE) == ("", False)
    connection = await asyncpg.connect(database_url)
    kept = await connection.fetchval("select metadata ->> 'traceparent' from facts where type = 'SeatsBooked'")
    await connection.close()
    assert kept.split("-")[1] == call.trace


async def test_a_service_that_stops_sends_what_it_has(services: Services, collector: Receiver) -> None:
    await services.start()
    assert (await services.book()).status_code == 201
    assert services.command.stop() == 0
    assert len(collector.named("BookSeats")) == 1


async def test_no_span_tells_who_somebody_is(services: Services, collector: Receiver) -> None:
    await services.start()
    await services.book(**{"MyEvents-User": "usr_very_private", "Idempotency-Key": "private-key"})
    services.command.stop()
    await until(lambda: _any(collector, "apply bookings"))
    assert not any(word in body for body in collector.bodies for word in (b"private", b"usr_ann"))


async def _any(collector: Receiver, name: str) -> bool:
    return bool(collector.named(name))


async def test_a_collector_that_is_away_or_hangs_holds_nobody_up(database_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging, ExitStack() as exits:
        away = Services(database_url, tmp_path, f"http://127.0.0.1:{hanging.getsockname()[1]}", exits)
        await away.start()
        for _ in range(10):
            assert (await away.book()).status_code == 201
        assert [service.stop() for service in (away.command, away.projector)] == [0, 0]


async def test_what_nobody_follows_is_not_sent_where_the_ratio_is_none(
    database_url: str, tmp_path: Path, collector: Receiver
) -> None:
    with ExitStack() as exits:
        services = Services(database_url, tmp_path, collector.url, exits, ratio="0")
        await services.start()
        await services.book()
        await services.book(traceparent=f"00-{CALLER_TRACE}-{CALLER_SPAN}-00")
        await services.book(traceparent=f"00-{CALLER_TRACE}-{CALLER_SPAN}-01")
        await until(lambda: _any(collector, "apply bookings"))
        stopped: list[Served] = [services.command, services.projector]
        assert [service.stop() for service in stopped] == [0, 0]
    assert len(collector.named("BookSeats")) == 1
    assert collector.named("CreateEvent") == []
    assert len(collector.named("round")) == 1
