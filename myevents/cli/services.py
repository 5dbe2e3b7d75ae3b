"""The services: everything in one process, or each of them alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from command.service import CommandService
from myevents import applications
from myevents.bootstrap import (
    answering,
    cache,
    catch_up,
    command_side,
    following,
    projector_metrics,
    query_side,
    read_model_metrics,
    reading,
    relaying,
    search_index,
    throttle,
)
from myevents.cli.importing import import_file
from myevents.cli.listening import listening, serve_http, telling
from myevents.cli.running import console, run_service
from myevents.databases import UPKEEP_CONNECTIONS, Server, connections, database, databases, read_database
from myevents.log.kafka_address import kafka_address
from myevents.log.store import PASSING
from myevents.settings import Settings
from myevents.telemetry.process import Telemetry
from schema.tables import COMMAND_ROLE, PROJECTOR_ROLE, QUERY_ROLE, RELAY_ROLE

app = typer.Typer()


@app.command()
def serve(
    sample: Annotated[Path | None, typer.Option(help="Import this file where the log is still empty.")] = None,
) -> None:
    """Serve everything in one process."""
    run_service(
        "serve",
        lambda settings, telemetry: _everything(settings, telemetry, sample),
        port=8080,
        tls_port=9191,
        metrics_port=9100,
    )


@app.command()
def command() -> None:
    """Serve commands alone."""

    async def act(settings: Settings, telemetry: Telemetry) -> None:
        at = listening(settings)
        async with (
            telling(settings, telemetry),
            database(settings, COMMAND_ROLE) as server,
            connections(server, role=COMMAND_ROLE, telemetry=telemetry) as store,
            cache(settings, telemetry) as shared,
            command_side(store, telemetry) as writer,
        ):
            _says("Commands are", settings, "/command", "/api/openapi.json")
            service = CommandService(writer, tracing=telemetry.tracing)
            application = applications.commands(telemetry, service, throttle(settings, shared))
            await serve_http(application, at, settings, telemetry.health)

    run_service("command", act, port=8181, tls_port=9191, metrics_port=9101)


@app.command()
def projector() -> None:
    """Let the read models and the search index follow the log."""

    async def act(settings: Settings, telemetry: Telemetry) -> None:
        follows = projector_metrics(telemetry)
        async with (
            telling(settings, telemetry),
            databases(settings, PROJECTOR_ROLE, telemetry) as (store, reads),
            search_index(settings) as search,
            following(settings, store, reads, search, follows),
        ):
            read_model_metrics(telemetry, reads.pool)
            telemetry.health.needs(follows.amiss)
            telemetry.health.started = True
            console.print("The read models and the search index follow the log.")
            await asyncio.Event().wait()

    run_service("projector", act, metrics_port=9103)


@app.command()
def relay() -> None:
    """Copy the log of facts into Kafka."""

    async def act(settings: Settings, telemetry: Telemetry) -> None:
        async with (
            telling(settings, telemetry),
            database(settings, RELAY_ROLE) as server,
            connections(server, role=RELAY_ROLE, telemetry=telemetry) as store,
            relaying(store, settings, telemetry) as copying,
        ):
            telemetry.health.needs(copying.amiss)
            telemetry.health.started = True
            console.print("The log is copied into Kafka.")
            await asyncio.Event().wait()

    run_service("relay", act, metrics_port=9102)


@app.command()
def query() -> None:
    """Serve queries alone."""

    async def act(settings: Settings, telemetry: Telemetry) -> None:
        at = listening(settings)
        async with (
            telling(settings, telemetry),
            read_database(settings, role=QUERY_ROLE, size=UPKEEP_CONNECTIONS, telemetry=telemetry) as database_of_reads,
            search_index(settings) as search,
            cache(settings, telemetry) as shared,
            query_side(database_of_reads, settings, telemetry) as reads,
        ):
            read_model_metrics(telemetry, database_of_reads.pool)
            telemetry.health.needs(reads.amiss)
            _says("Queries are", settings, "/graphql", "/api/openapi.json")
            async with answering(database_of_reads, reads, settings, shared, telemetry) as answers:
                wrap = throttle(settings, shared)
                application = applications.queries(telemetry, reads, search, answers, wrap)
                await serve_http(application, at, settings, telemetry.health)

    run_service("query", act, port=8282, tls_port=9292, metrics_port=9104)


async def _everything(settings: Settings, telemetry: Telemetry, sample: Path | None) -> None:
    at = listening(settings)
    async with (
        telling(settings, telemetry),
        # It is able while it can book, whether or not the read models are there.
        database(settings, COMMAND_ROLE) as server,
        connections(server, role=COMMAND_ROLE, telemetry=telemetry) as store,
        connections(
            server, role=PROJECTOR_ROLE, name="database of the projector", needed=False, telemetry=telemetry
        ) as log_store,
        read_database(
            settings,
            role=PROJECTOR_ROLE,
            store=server,
            pool=log_store,
            telemetry=telemetry,
            name="read database of the projector",
        ) as models,
        read_database(
            settings, role=QUERY_ROLE, store=server, size=UPKEEP_CONNECTIONS, telemetry=telemetry
        ) as database_of_reads,
        search_index(settings) as search,
        cache(settings, telemetry) as shared,
        command_side(store, telemetry) as writer,
        following(settings, log_store, models, search, projector_metrics(telemetry)),
        _relay(server, settings, telemetry) if kafka_address(settings.log_url) else contextlib.nullcontext(),
        query_side(database_of_reads, settings, telemetry) as reads,
    ):
        async with reading(store) as log:
            empty = not any((await log.heads()).values())
        if sample is not None and empty:
            await import_file(writer, sample, Path("var/rejected.jsonl"))
            with contextlib.suppress(*PASSING):
                await catch_up(log_store, models)
        read_model_metrics(telemetry, database_of_reads.pool)
        _welcome(settings)
        async with answering(database_of_reads, reads, settings, shared, telemetry) as answers:
            service, wrap = CommandService(writer, tracing=telemetry.tracing), throttle(settings, shared)
            application = applications.everything(telemetry, service, reads, search, answers, wrap)
            await serve_http(application, at, settings, telemetry.health)


@contextlib.asynccontextmanager
async def _relay(server: Server, settings: Settings, telemetry: Telemetry) -> AsyncIterator[None]:
    """Copy the log into Kafka meanwhile, on connections of the relay's own."""
    async with (
        connections(server, role=RELAY_ROLE, name="database of the relay", needed=False, telemetry=telemetry) as store,
        relaying(store, settings, telemetry),
    ):
        yield


def _says(what: str, settings: Settings, *paths: str) -> None:
    at = f"http://{settings.host}:{settings.port}"
    console.print(f"{what} served at {'   '.join(at + path for path in paths)}", highlight=False, soft_wrap=True)


def _welcome(settings: Settings) -> None:
    at = f"http://{settings.host}:{settings.port}"
    console.print(
        f"MyEvents serves at {at}\n  {at}/graphql   {at}/command   {at}/api/openapi.json\nTry:", highlight=False
    )
    for line in (
        f"curl '{at}/api/events?first=3'",
        f"""curl {at}/graphql --json '{{"query": "{{ events(first: 3) {{ nodes {{ id name startsAt }} }} }}"}}'""",
        f"""curl {at}/api/events/EVENT_ID/bookings -H 'MyEvents-User: usr_me' --json '{{"seats": 2}}'""",
    ):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
