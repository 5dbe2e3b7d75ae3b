"""Looking after the database: migrate, import, verify, rebuild."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from myevents.bootstrap import command_side, database, opened
from myevents.cli.importing import import_file
from myevents.cli.progress import progress_bar
from myevents.cli.running import console, run
from myevents.log.store import StoreLog
from myevents.settings import Settings
from projector import rebuild as rebuilds
from projector.model import ReadModel
from projector.run import Projector, read_models
from projector.verify import verify as verified

app = typer.Typer()


@app.command()
def migrate() -> None:
    """Bring the database up to date."""

    async def done(settings: Settings) -> None:
        async with database(settings):
            console.print("The database is up to date.")

    run(done)


@app.command(name="import")
def import_(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    rejects: Annotated[Path, typer.Option(help="Where to write the lines that cannot be.")] = Path("rejected.jsonl"),
) -> None:
    """Import conferences, one JSON object a line; goes on where it was stopped."""

    async def done(settings: Settings) -> None:
        async with opened(settings) as (pool, log), command_side(pool) as writer:
            for file in files:
                await import_file(writer, file, rejects)
            await Projector(log=log, pool=pool).catch_up()

    run(done)


@app.command()
def verify() -> None:
    """Check the log and the read models; exits with 1 where something is wrong."""

    async def done(settings: Settings) -> None:
        async with opened(settings) as (pool, log):
            await Projector(log=log, pool=pool).catch_up()
            problems = await verified(log=log, pool=pool)
        for problem in problems:
            console.print(f"- {problem}", markup=False)
        if problems:
            raise typer.Exit(1)
        console.print("The log has no gap, and the read models say what it says.")

    run(done)


@app.command()
def rebuild(
    model: Annotated[str, typer.Argument(help="events, locations or bookings")],
    back: Annotated[bool, typer.Option("--back", help="Let the build before serve again.")] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Drop the builds that do not serve.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Swap even where the builds differ.")] = False,
) -> None:
    """Build a read model anew from the log, beside the live one; compare; swap."""
    chosen = {known.name: known for known in read_models()}.get(model)
    if chosen is None:
        raise typer.BadParameter("There are the models events, locations and bookings.")

    async def done(settings: Settings) -> None:
        async with opened(settings) as (pool, log):
            if back:
                await rebuilds.go_back(chosen, log, pool)
            elif drop_old:
                console.print(f"Dropped: {await rebuilds.drop_old(chosen, pool)}")
            else:
                await _rebuild(chosen, log, pool, force)

    run(done)


async def _rebuild(model: ReadModel, log: StoreLog, pool: asyncpg.Pool, force: bool) -> None:
    with progress_bar() as bar:
        task = bar.add_task(f"Rebuilding {model.name}")
        differences = await rebuilds.rebuild(
            model, log, pool, lambda done, total: bar.update(task, completed=done, total=total), force=force
        )
    for difference in differences:
        console.print(f"- {difference}", markup=False)
    console.print(f"The new build of {model.name} serves.")
