"""Looking at the log of facts."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from myevents.bootstrap import reading
from myevents.cli.running import run
from myevents.databases import connections, database
from myevents.log.tail import tail
from myevents.settings import Settings
from schema import codec
from schema.facts import RecordedFact, UnreadableFact
from schema.tables import PARTITIONS

app = typer.Typer(no_args_is_help=True, help="Shows the log of facts.")
_envelope = msgspec.json.Encoder(decimal_format="string")


Partition = Annotated[int | None, typer.Option(min=0, max=PARTITIONS - 1, help="Only this partition.")]


@app.command()
def show(
    stream: Annotated[str | None, typer.Option(help="Only this event or location.")] = None,
    partition: Partition = None,
    after: Annotated[int, typer.Option(min=0, help="Start after this seq, or version of a stream.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
) -> None:
    """Print facts that are there, one JSON object a line: a stream's, or a partition after the other."""

    async def done(settings: Settings) -> None:
        async with database(settings) as server, connections(server) as pool, reading(pool) as log:
            if stream is not None:
                facts = await log.read_stream(stream, after, limit)
            else:
                facts = []
                for number in range(PARTITIONS) if partition is None else (partition,):
                    facts += await log.read(number, after, limit - len(facts)) if len(facts) < limit else []
        for fact in facts:
            typer.echo(_line(fact))

    run(done)


@app.command(name="tail")
def tail_(
    stream: Annotated[str | None, typer.Option(help="Only this event or location.")] = None,
    partition: Partition = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="All that is there first.")] = False,
) -> None:
    """Print each new fact as it comes, one JSON object a line, until Ctrl-C."""

    async def act(settings: Settings) -> None:
        async with database(settings) as server, connections(server) as pool, reading(pool) as log:
            async for fact in tail(log, stream=stream, partition=partition, from_start=from_start):
                typer.echo(_line(fact))

    run(act)


def _line(fact: RecordedFact | UnreadableFact) -> str:
    """The fact in the envelope in which the log passes it on; of one that cannot be read, what is known."""
    head = {
        "partition": fact.partition,
        "seq": fact.seq,
        "stream": fact.stream_id,
        "version": fact.version,
    }
    if isinstance(fact, UnreadableFact):
        return _envelope.encode(head | {"type": fact.type, "unreadable": fact.reason}).decode()
    rest = {
        "type": codec.type_name(fact.fact),
        "recordedAt": fact.recorded_at,
        "data": fact.fact,
        "metadata": fact.metadata,
    }
    return _envelope.encode(head | rest).decode()
