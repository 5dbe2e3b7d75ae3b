"""How a command runs: with the settings of the environment, ended in order by Ctrl-C, SIGTERM or SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable

import structlog
import typer
from rich.console import Console

from myevents.errors import MyEventsError
from myevents.settings import Settings
from myevents.telemetry.health import Health
from myevents.telemetry.logs import configure_logs, kinds_of, tell_of_loop
from myevents.telemetry.process import Telemetry
from myevents.telemetry.tracing import tracing

console = Console(stderr=True)
"""Where people are spoken to; standard output is for what other programs read."""

_log = structlog.get_logger()

_LAST = 8.5
"""Seconds from when a service takes no more requests until it ends, whatever still hangs."""


def run(act: Callable[[Settings], Awaitable[None]]) -> None:
    """Run with the settings of the environment."""

    async def guarded(settings: Settings, task: asyncio.Task[object]) -> None:
        for number in _ending_signals():
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await act(settings)

    _run("myevents", guarded, Settings.from_environment)


def run_service(
    name: str,
    act: Callable[[Settings, Telemetry], Awaitable[None]],
    *,
    port: int = 0,
    tls_port: int = 0,
    metrics_port: int,
) -> None:
    """Run a service until SIGTERM, SIGHUP or Ctrl-C; ports are those given unless the environment says otherwise."""

    async def guarded(settings: Settings, task: asyncio.Task[object]) -> None:
        async with tracing(name, settings.traces_url, settings.traces_ratio) as traced:
            telemetry = Telemetry(service=name, tracing=traced, access_log=settings.access_log)
            _leave_on_signals(settings, task, telemetry.health)
            await act(settings, telemetry)

    _run(name, guarded, lambda: Settings.from_environment(port=port, tls_port=tls_port, metrics_port=metrics_port))


def _run(
    name: str,
    act: Callable[[Settings, asyncio.Task[object]], Awaitable[None]],
    settings_of: Callable[[], Settings],
) -> None:
    configure_logs(name)

    async def guarded() -> None:
        tell_of_loop(asyncio.get_running_loop())
        task = asyncio.current_task()
        assert task is not None
        await act(settings_of(), task)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(guarded())
    except MyEventsError as error:
        console.print(str(error), markup=False)
        raise typer.Exit(2) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(0) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        # What it says is not told: it may repeat an address, and with it a password.
        _log.exception("given_up")
        console.print(f"It cannot go on: {' of '.join(kinds_of(error))}. The line before says where.", markup=False)
        raise typer.Exit(1) from None


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

    for number in (signal.SIGINT, *_ending_signals()):
        asyncio.get_running_loop().add_signal_handler(number, leave)


def _ending_signals() -> tuple[signal.Signals, ...]:
    """The signals besides Ctrl-C that end a command: SIGTERM, and SIGHUP of a terminal that closes.

    A process that `nohup` started ignores SIGHUP, and goes on doing so.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGHUP)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
