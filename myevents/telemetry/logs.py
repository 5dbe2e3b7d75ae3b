"""Logs as JSON, one line an event, for programs to read. No line says what an error says: it may repeat what is secret.

The message of an error that is not ours may hold a value, a key, an address with a password. So it is told by the kinds
of errors and the places in the code; messages of ours are written to be read.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace

from myevents.errors import MyEventsError

_FRAMES: Final = 8
"""Places in the code that are told of an error, the innermost ones."""

_Event = MutableMapping[str, Any]


def configure_logs(service: str, *, to: TextIO = sys.stderr) -> None:
    """Write every log line of this process as JSON, those of libraries too, from warnings up."""

    def named(_: object, __: str, event: _Event) -> _Event:
        event["service"] = service
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            named,
            _traced,
            _failed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(to),
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    # It would say of each span that is dropped that it is.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)


def tell_of_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Log what nobody awaited, without what it says."""

    def told(_: object, context: dict[str, Any]) -> None:
        structlog.get_logger().error("loop_failed", reason=context.get("message"), exc_info=context.get("exception"))

    loop.set_exception_handler(told)


def kinds_of(error: BaseException) -> list[str]:
    """An error and what brought it about: each its kind, and its message where it is one of ours."""
    kinds: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(kinds) < _FRAMES:
        kinds.append(f"{type(seen).__name__}: {seen}" if isinstance(seen, MyEventsError) else type(seen).__name__)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return kinds


def places_of(places: TracebackType | None) -> list[str]:
    """Where it happened: file, line and function, the innermost last."""
    frames = traceback.extract_tb(places)[-_FRAMES:]
    return ["{}:{} {}".format("/".join(Path(f.filename).parts[-2:]), f.lineno, f.name) for f in frames]


def _traced(_: object, __: str, event: _Event) -> _Event:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _failed(_: object, __: str, event: _Event) -> _Event:
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        event["error"] = kinds_of(error)
        event["at"] = places_of(error.__traceback__)
    return event


class _FromLibraries(logging.Handler):
    """What libraries log: where, and the pattern of the message, never what is filled in.

    A message without anything to be filled in may have been put together before, so that it is not told either.
    """

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        place = f"{Path(record.pathname).name}:{record.lineno} {record.funcName}"
        said = str(record.msg).strip() if record.args else None
        write("library", logger=record.name, place=place, said=said, exc_info=record.exc_info)
