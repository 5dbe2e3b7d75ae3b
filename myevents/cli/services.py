"""The services: everything in one process, or each of them alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from command.service import CommandService
from myevents import applications
from myevents.bootstrap import command_side, connections, database, following, query_side, reading, search_index
from myevents.cli.importing import import_file
from myevents.cli.listening import listening, serve_http
from myevents.cli.running import console, run
from myevents.settings import Settings

app = typer.Typer()


@app.command()
def serve(
    sample: Annotated[Path | None, typer.Option(help="Import this file where the log is still empty.")] = None,
) -> None:
    """Serve everything in one process."""
    run(lambda settings: _everything(settings, sample))


@app.command()
def command() -> None:
    """Serve commands alone."""

    async def act(settings: Settings) -> None:
        at = listening(settings)
        async with database(settings) as dsn, connections(dsn) as pool, command_side(pool) as writer:
            _says("Commands are", settings, "/command", "/api/openapi.json")
            await serve_http(applications.commands(pool, CommandService(writer)), at)

    run(act, port=8181)


@app.command()
def projector() -> None:
    """Let the read models and the search index follow the log."""

    async def act(settings: Settings) -> None:
        async with (
            database(settings) as dsn,
            connections(dsn) as pool,
            search_index(settings) as search,
            following(pool, search),
        ):
            console.print("The read models and the search index follow the log.")
            await asyncio.Event().wait()

    run(act)


@app.command()
def query() -> None:
    """Serve queries alone."""

    async def act(settings: Settings) -> None:
        at = listening(settings)
        async with database(settings) as dsn, connections(dsn) as pool, search_index(settings) as search:
            reads = await query_side(pool, settings)
            _says("Queries are", settings, "/graphql", "/api/openapi.json")
            await serve_http(applications.queries(pool, reads, search), at)

    run(act, port=8282)


async def _everything(settings: Settings, sample: Path | None) -> None:
    at = listening(settings)
    async with (
        database(settings) as dsn,
        connections(dsn) as pool,
        search_index(settings) as search,
        command_side(pool) as writer,
        following(pool, search) as projector,
    ):
        async with reading(pool) as log:
            empty = not any((await log.heads()).values())
        if sample is not None and empty:
            await import_file(writer, sample, Path("var/rejected.jsonl"))
            await projector.catch_up()
        reads = await query_side(pool, settings)
        _welcome(settings)
        await serve_http(applications.everything(pool, CommandService(writer), reads, search), at)


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
