"""Sends spans by OTLP over HTTP: many at a time, from a thread of its own, never waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

QUEUE: Final = 2048
"""Spans that wait to be sent; one more is dropped."""

_TIMEOUT: Final = 2.0
_PAUSE_MS: Final = 1000


class FollowedOrRatio(Sampler):
    """What a followed trace leads to is followed; of what begins here, a part."""

    def __init__(self, ratio: float) -> None:
        self._usual = ParentBased(TraceIdRatioBased(ratio))

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide about a span that is about to begin."""
        if any(link.context.trace_flags.sampled for link in links or ()):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._usual.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """For people."""
        return "FollowedOrRatio"


def tracer_provider(service: str, endpoint: str, ratio: float) -> TracerProvider:
    """What makes tracers whose spans go to `endpoint`."""
    provider = TracerProvider(
        sampler=FollowedOrRatio(ratio), resource=Resource({"service.name": service}), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_TIMEOUT)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=_PAUSE_MS, max_export_batch_size=512)
    )
    return provider
