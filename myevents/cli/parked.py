"""Streams that were set aside because of a fact that could not be applied."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from myevents.bootstrap import opened
from myevents.cli.running import console, run
from myevents.settings import Settings
from projector.parked import parked_streams, retry
from projector.run import read_models

app = typer.Typer(no_args_is_help=True, help="Streams set aside because of a fact that could not be applied.")
Model = Annotated[str | None, typer.Argument(help="Only this read model's.")]
Stream = Annotated[str | None, typer.Argument(help="Only this event or location.")]


@app.command(name="list")
def list_(model: Model = None, stream: Stream = None) -> None:
    """Print what is parked, one JSON object a line."""

    async def done(settings: Settings) -> None:
        async with opened(settings) as (_, pool, _):
            parked = await parked_streams(pool, model, stream)
        for each in parked:
            typer.echo(msgspec.json.encode(each).decode())

    run(done)


@app.command(name="retry")
def retry_(model: Model = None, stream: Stream = None) -> None:
    """Apply parked streams again, projectors running or not; exits with 1 where one stays parked."""
    models = {known.name: known for known in read_models()}

    async def done(settings: Settings) -> None:
        left = 0
        async with opened(settings) as (_, pool, log):
            parked = await parked_streams(pool, model, stream)
            for each in parked:
                if each.model in models:
                    reason = await retry(each, models[each.model], log, pool)
                else:
                    reason = "it is no read model of ours: rebuild it"
                left += reason is not None
                told = "applied" if reason is None else f"still parked: {reason}"
                console.print(f"{each.model} {each.stream_id}: {told}", markup=False, soft_wrap=True)
        if not parked:
            console.print("Nothing is parked.")
        if left:
            raise typer.Exit(1)

    run(done)
