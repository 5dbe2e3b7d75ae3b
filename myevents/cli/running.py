"""How a command runs: with the settings of the environment, ended in order by Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog
import typer
from rich.console import Console

from myevents.errors import MyEventsError
from myevents.settings import Settings

console = Console(stderr=True)
"""Where people are spoken to; standard output is for what other programs read."""


def run(act: Callable[[Settings], Awaitable[None]], *, port: int = 8080, metrics_port: int = 9100) -> None:
    """Run with the settings of the environment; ports are those given unless they say otherwise."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )

    async def guarded() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await act(Settings.from_environment(port=port, metrics_port=metrics_port))

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
