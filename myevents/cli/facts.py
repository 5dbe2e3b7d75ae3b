"""Looking at the log of facts."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from myevents.bootstrap import connections, database, reading
from myevents.cli.running import run
from myevents.settings import Settings
from schema import codec
from schema.facts import RecordedFact

app = typer.Typer(no_args_is_help=True, help="Shows the log of facts.")
_envelope = msgspec.json.Encoder(decimal_format="string")


@app.command()
def show(
    stream: Annotated[str | None, typer.Option(help="Only this event or location.")] = None,
    partition: Annotated[int, typer.Option(min=0)] = 0,
    after: Annotated[int, typer.Option(min=0, help="Start after this seq, or version of a stream.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
) -> None:
    """Print facts, one JSON object a line."""

    async def done(settings: Settings) -> None:
        async with database(settings) as dsn, connections(dsn) as pool, reading(pool) as log:
            facts = await log.read_stream(stream, after, limit) if stream else await log.read(partition, after, limit)
        for fact in facts:
            typer.echo(_line(fact) if isinstance(fact, RecordedFact) else msgspec.json.encode(fact).decode())

    run(done)


def _line(fact: RecordedFact) -> str:
    """The fact in the envelope in which the log passes it on."""
    head = {
        "partition": fact.partition,
        "seq": fact.seq,
        "stream": fact.stream_id,
        "version": fact.version,
        "type": codec.type_name(fact.fact),
        "recordedAt": fact.recorded_at,
        "data": fact.fact,
        "metadata": fact.metadata,
    }
    return _envelope.encode(head).decode()
