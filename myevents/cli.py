"""The command line."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import typer
import uvicorn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from command.conferences import ConferenceImport, Tally
from myevents.bootstrap import Parts, application, database, parts
from myevents.errors import MyEventsError
from myevents.settings import Settings
from projector import rebuild as rebuilds
from projector.model import ReadModel
from projector.run import read_models
from projector.verify import verify as verified
from schema import codec
from schema.facts import RecordedFact

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
log = typer.Typer(no_args_is_help=True, help="Shows the log of facts.")
app.add_typer(log, name="log")
console = Console(stderr=True)
_envelope = msgspec.json.Encoder(decimal_format="string")


class SpeedColumn(ProgressColumn):
    """How many lines a second."""

    def render(self, task: Task) -> Text:
        """The speed, blank while it is not known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@app.command()
def serve(
    sample: Annotated[Path | None, typer.Option(help="Import this file where the log is still empty.")] = None,
) -> None:
    """Serve everything in one process."""
    _run(lambda settings: _serve(settings, sample))


@app.command()
def migrate() -> None:
    """Bring the database up to date."""

    async def done(settings: Settings) -> None:
        async with database(settings):
            console.print("The database is up to date.")

    _run(done)


@app.command(name="import")
def import_(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    rejects: Annotated[Path, typer.Option(help="Where to write the lines that cannot be.")] = Path("rejected.jsonl"),
) -> None:
    """Import conferences, one JSON object a line; goes on where it was stopped."""

    async def done(settings: Settings) -> None:
        async with database(settings) as dsn, parts(dsn, settings, following=False) as running:
            for file in files:
                await _import(running, file, rejects)
            await running.projector.catch_up()

    _run(done)


@app.command()
def verify() -> None:
    """Check the log and the read models; exits with 1 where something is wrong."""

    async def done(settings: Settings) -> None:
        async with database(settings) as dsn, parts(dsn, settings, following=False) as running:
            await running.projector.catch_up()
            problems = await verified(log=running.log, pool=running.pool)
        for problem in problems:
            console.print(f"- {problem}", markup=False)
        if problems:
            raise typer.Exit(1)
        console.print("The log has no gap, and the read models say what it says.")

    _run(done)


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
        async with database(settings) as dsn, parts(dsn, settings, following=False) as running:
            if back:
                await rebuilds.go_back(chosen, running.log, running.pool)
            elif drop_old:
                console.print(f"Dropped: {await rebuilds.drop_old(chosen, running.pool)}")
            else:
                await _rebuild(chosen, running, force)

    _run(done)


@log.command()
def show(
    stream: Annotated[str | None, typer.Option(help="Only this event or location.")] = None,
    partition: Annotated[int, typer.Option(min=0)] = 0,
    after: Annotated[int, typer.Option(min=0, help="Start after this seq, or version of a stream.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
) -> None:
    """Print facts, one JSON object a line."""

    async def done(settings: Settings) -> None:
        async with database(settings) as dsn, parts(dsn, settings, following=False) as running:
            facts = (
                await running.log.read_stream(stream, after, limit)
                if stream
                else await running.log.read(partition, after, limit)
            )
        for fact in facts:
            typer.echo(_line(fact) if isinstance(fact, RecordedFact) else msgspec.json.encode(fact).decode())

    _run(done)


async def _serve(settings: Settings, sample: Path | None) -> None:
    async with database(settings) as dsn, parts(dsn, settings) as running:
        if sample is not None and not any((await running.log.heads()).values()):
            await _import(running, sample, Path("var/rejected.jsonl"))
            await running.projector.catch_up()
        config = uvicorn.Config(
            application(running),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
        _welcome(settings)
        await uvicorn.Server(config).serve()


async def _rebuild(model: ReadModel, running: Parts, force: bool) -> None:
    with Progress(
        TextColumn(f"Rebuilding {model.name}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("")
        differences = await rebuilds.rebuild(
            model,
            running.log,
            running.pool,
            lambda done, total: bar.update(task, completed=done, total=total),
            force=force,
        )
    for difference in differences:
        console.print(f"- {difference}", markup=False)
    console.print(f"The new build of {model.name} serves.")


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


async def _import(running: Parts, file: Path, rejects: Path) -> Tally:
    lines = await asyncio.to_thread(file.read_bytes)
    pending = lines.splitlines()
    bar = Progress(
        TextColumn("Importing {task.fields[name]}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    rejected: list[dict[str, object]] = []
    with bar:
        task = bar.add_task("", total=len(pending), name=file.name)
        tally = await ConferenceImport(running.writer).run(
            pending,
            lambda number, reason: rejected.append({"file": file.name, "line": number, "reason": reason}),
            lambda: bar.advance(task),
        )
    console.print(f"{tally.imported} imported, {tally.known} there already, {tally.rejected} rejected.")
    if rejected:
        rejected.sort(key=lambda entry: int(str(entry["line"])))
        with rejects.open("ab") as out:
            out.writelines(msgspec.json.encode(entry) + b"\n" for entry in rejected)
        console.print(f"The rejected lines and why: {rejects}")
    return tally


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


def _run(act: Callable[[Settings], Awaitable[None]]) -> None:
    """Run with the settings of the environment; Ctrl-C ends it in order."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(),
    )

    async def guarded() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        await act(Settings.from_environment())

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(guarded())
    except MyEventsError as error:
        console.print(str(error), markup=False)
        raise typer.Exit(2) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(0) from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
