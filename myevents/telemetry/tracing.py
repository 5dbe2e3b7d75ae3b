"""Traces by OpenTelemetry: from a request through the fact it brings about to whoever applies that fact.

Off unless it is said where to send them; then nothing is measured, and the SDK is not even imported. Spans tell of
routes, commands and positions, never of a person, and of an error only its kind.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, NoOpTracer, Span, SpanContext, SpanKind, TraceFlags, Tracer
from opentelemetry.util.types import AttributeValue

MOST: Final = 32
"""Traces that a round or a batch is told in at most."""

_DEADLINE: Final = 2.0
"""Seconds that sending may take, and that the end of a process waits for it."""

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")

Attributes = Mapping[str, AttributeValue]


class Tracing:
    """Where spans are begun; `on` tells whether anybody wants them."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.on = tracer is not None
        self._tracer = tracer or NoOpTracer()

    @contextmanager
    def span(self, name: str, kind: SpanKind, attributes: Attributes, *, parent: str | None = None) -> Iterator[Span]:
        """A span of the current trace, or of the one of `parent`; what fails in it is told by its kind."""
        context = span_context(parent)
        within = trace.set_span_in_context(NonRecordingSpan(context)) if context else None
        with self._current(self._tracer.start_span(name, within, kind, attributes)) as span:
            yield span

    @contextmanager
    def linked(self, name: str, traceparents: Iterable[str | None], attributes: Attributes) -> Iterator[None]:
        """A trace of its own that is linked to those; none where nobody follows any of them."""
        contexts = _sampled(traceparents) if self.on else []
        if not contexts:
            yield
            return
        links = [Link(context) for context in contexts]
        within = trace.set_span_in_context(trace.INVALID_SPAN)
        with self._current(self._tracer.start_span(name, within, SpanKind.INTERNAL, attributes, links)):
            yield

    def took_on(self, name: str, traceparents: Iterable[str | None], attributes: Attributes, begun: int) -> None:
        """In each of those traces: since `begun`, in ns of the clock, and until now its fact was taken on."""
        for context in _sampled(traceparents) if self.on else ():
            within = trace.set_span_in_context(NonRecordingSpan(context))
            self._tracer.start_span(name, within, SpanKind.CONSUMER, attributes, start_time=begun).end()

    @contextmanager
    def _current(self, span: Span) -> Iterator[Span]:
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except Exception as error:
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise


def current_traceparent() -> str | None:
    """The span that we are in, as W3C Trace Context writes it; None outside any."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def valid_traceparent(text: str | None) -> str | None:
    """`text` where it is a traceparent, and holds nothing else."""
    return text if span_context(text) else None


def span_context(traceparent: str | None) -> SpanContext | None:
    """The span that a traceparent names; None where it names none."""
    found = _TRACEPARENT.match(traceparent or "")
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED))
    return context if context.is_valid else None


def _sampled(traceparents: Iterable[str | None]) -> list[SpanContext]:
    found: dict[str, SpanContext] = {}
    for traceparent in traceparents:
        if traceparent is None or traceparent in found:
            continue
        context = span_context(traceparent)
        if context is not None and context.trace_flags.sampled:
            found[traceparent] = context
            if len(found) == MOST:
                break
    return list(found.values())


@asynccontextmanager
async def tracing(service: str, url: str, ratio: float) -> AsyncIterator[Tracing]:
    """Send `ratio` of the traces that begin here, and those that callers follow, to `url`; none where it is empty."""
    if not url:
        yield Tracing()
        return
    from myevents.telemetry.sending import tracer_provider

    provider = tracer_provider(service, url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1/traces", ratio)
    try:
        yield Tracing(provider.get_tracer("myevents"))
    finally:
        # A thread that nobody waits for: who receives the spans may hang.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _DEADLINE)
