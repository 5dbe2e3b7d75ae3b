"""Looking after the database: migrate, import, verify, rebuild."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from migrations.passwords import set_passwords
from myevents.bootstrap import command_side, opened, prepare_topic, search_index
from myevents.cli.copying import verify_copy
from myevents.cli.importing import import_file
from myevents.cli.progress import progress_bar
from myevents.cli.running import console, run
from myevents.databases import database, read_database
from myevents.log.store import StoreLog
from myevents.search.port import SearchBuilds, SearchUnavailable
from myevents.settings import Settings
from projector import rebuild as rebuilds
from projector import search_rebuild
from projector.model import ReadModel
from projector.run import Projector, read_models
from projector.search import SearchProjector
from projector.search_registry import NAME
from projector.search_verify import verify_search
from projector.verify import verify as verified

app = typer.Typer()


@app.command()
def migrate() -> None:
    """Bring the database up to date, and give the services' roles the passwords of the settings."""

    async def done(settings: Settings) -> None:
        async with database(settings) as server, read_database(settings, store=server) as reads:
            await reads.prepare()
            for url in {server.url, reads.server.url}:
                await set_passwords(url, settings.role_passwords)
            console.print("The database is up to date.")
            await prepare_topic(settings)

    run(done)


@app.command(name="import")
def import_(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    rejects: Annotated[Path, typer.Option(help="Where to write the lines that cannot be.")] = Path("rejected.jsonl"),
) -> None:
    """Import conferences, one JSON object a line; goes on where it was stopped."""

    async def done(settings: Settings) -> None:
        async with opened(settings) as (store, pool, log), command_side(store) as writer:
            for file in files:
                await import_file(writer, file, rejects)
            await Projector(log=log, pool=pool).catch_up()

    run(done)


@app.command()
def verify(
    log: Annotated[bool, typer.Option("--log", help="Check Kafka's copy of the log instead.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="With --log: send again what Kafka lacks.")] = False,
) -> None:
    """Check the log, the read models and the search index; exits with 1 where something is wrong."""
    if repair and not log:
        raise typer.BadParameter("--repair mends Kafka's copy of the log: say --log as well.")
    run(partial(verify_copy, repair=repair) if log else _verify)


async def _verify(settings: Settings) -> None:
    async with opened(settings) as (store, pool, log), search_index(settings) as search:
        await Projector(log=log, pool=pool).catch_up()
        with contextlib.suppress(SearchUnavailable):
            # Where a service writes the index, it is that one that brings it up to date.
            await SearchProjector(log=log, pool=pool, builds=search).catch_up()
        problems = await verified(log=log, pool=pool, store=store)
        problems += await verify_search(log=log, pool=pool, builds=search)
    for problem in problems:
        console.print(f"- {problem}", markup=False)
    if problems:
        raise typer.Exit(1)
    console.print("The log has no gap, and the read models and the search index say what it says.")


@app.command()
def rebuild(
    model: Annotated[str, typer.Argument(help="events, locations, bookings or search")],
    back: Annotated[bool, typer.Option("--back", help="Let the build before serve again.")] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Drop the builds that do not serve.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Swap even where the builds differ.")] = False,
) -> None:
    """Build a read model anew from the log, beside the live one; compare; swap."""
    chosen = {known.name: known for known in read_models()}.get(model)
    if chosen is None and model != NAME:
        raise typer.BadParameter("There are the models events, locations, bookings and search.")

    async def done(settings: Settings) -> None:
        async with opened(settings) as (_, pool, log):
            if chosen is None:
                async with search_index(settings) as search:
                    await _rebuild_index(log, pool, search, back=back, drop=drop_old, force=force)
            elif back:
                await rebuilds.go_back(chosen, log, pool)
            elif drop_old:
                console.print(f"Dropped: {await rebuilds.drop_old(chosen, pool)}")
            else:
                await _rebuild(chosen, log, pool, force)

    run(done)


async def _rebuild_index(
    log: StoreLog, pool: asyncpg.Pool, search: SearchBuilds, *, back: bool, drop: bool, force: bool
) -> None:
    if back:
        await search_rebuild.go_back(log, pool, search)
    elif drop:
        console.print(f"Dropped: {await search_rebuild.drop_old(pool, search)}")
    else:
        await _shown(NAME, lambda progress: search_rebuild.rebuild_search(log, pool, search, progress, force=force))


async def _rebuild(model: ReadModel, log: StoreLog, pool: asyncpg.Pool, force: bool) -> None:
    await _shown(model.name, lambda progress: rebuilds.rebuild(model, log, pool, progress, force=force))


async def _shown(name: str, rebuilding: Callable[[rebuilds.Progress], Awaitable[list[str]]]) -> None:
    with progress_bar() as bar:
        task = bar.add_task(f"Rebuilding {name}")
        differences = await rebuilding(lambda done, total: bar.update(task, completed=done, total=total))
    for difference in differences:
        console.print(f"- {difference}", markup=False)
    console.print(f"The new build of {name} serves.")
