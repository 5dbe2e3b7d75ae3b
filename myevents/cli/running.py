"""How a command runs: with the settings of the environment, ended in order by Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import structlog
import typer
from rich.console import Console

from myevents.errors import MyEventsError
from myevents.settings import Settings
from myevents.telemetry.health import Health
from myevents.telemetry.process import Telemetry

console = Console(stderr=True)
"""Where people are spoken to; standard output is for what other programs read."""

_LAST = 8.5
"""Seconds from when a service takes no more requests until it ends, whatever still hangs."""


def run(act: Callable[[Settings], Awaitable[None]]) -> None:
    """Run with the settings of the environment."""
    _run(act, _end_on_sigterm, Settings.from_environment)


def run_service(
    name: str,
    act: Callable[[Settings, Telemetry], Awaitable[None]],
    *,
    port: int = 0,
    tls_port: int = 0,
    metrics_port: int,
) -> None:
    """Run a service until SIGTERM or Ctrl-C; ports are those given unless the environment says otherwise."""
    telemetry = Telemetry(service=name)
    _run(
        lambda settings: act(settings, telemetry),
        lambda settings, task: _leave_on_signals(settings, task, telemetry.health),
        lambda: Settings.from_environment(port=port, tls_port=tls_port, metrics_port=metrics_port),
    )


def _run(
    act: Callable[[Settings], Awaitable[None]],
    on_signals: Callable[[Settings, asyncio.Task[object]], None],
    settings_of: Callable[[], Settings],
) -> None:
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
        settings = settings_of()
        task = asyncio.current_task()
        assert task is not None
        on_signals(settings, task)
        await act(settings)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(guarded())
    except MyEventsError as error:
        console.print(str(error), markup=False)
        raise typer.Exit(2) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(0) from None


def _end_on_sigterm(_: Settings, task: asyncio.Task[object]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _leave_on_signals(settings: Settings, task: asyncio.Task[object], health: Health) -> None:
    """Cancel `task` at the first signal; whatever then hangs, the process ends some seconds later."""

    def leave() -> None:
        if health.leaving:
            return
        # A thread of its own: it must come also when the loop does not turn any more.
        last = threading.Timer(settings.stop_delay + _LAST, os._exit, (1,))
        last.daemon = True
        last.start()
        health.leave(settings.stop_delay)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
