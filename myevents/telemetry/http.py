"""What is asked over HTTP, measured around the whole application: by route, never by path, which callers choose."""

from __future__ import annotations

import time
from typing import Final

import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from myevents.telemetry.tracing import Tracing

_log = structlog.get_logger()

UNMATCHED: Final = "unmatched"
"""The route of what no route takes."""

_PROBES: Final = {"/healthz", "/readyz"}
"""Asked every few seconds by those who look after the process: no trace is worth it."""

_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class HttpMetrics:
    """Requests of one service: how many, and how long they took."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self._service = service
        self._count = Counter(
            "myevents_http_requests_total",
            "Requests by route; status none: ended without an answer.",
            ("service", "method", "route", "status"),
            registry=registry,
        )
        self._time = Histogram(
            "myevents_http_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("service", "route"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._counts: dict[tuple[str, str, str], Counter] = {}
        self._times: dict[str, Histogram] = {}

    def answered(self, method: str, route: str, status: str, seconds: float) -> None:
        """Count a request."""
        key = (method, route, status)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = self._count.labels(self._service, *key)
        count.inc()
        taken = self._times.get(route)
        if taken is None:
            taken = self._times[route] = self._time.labels(self._service, route)
        taken.observe(seconds)


class Observed:
    """An application whose requests are counted, traced where traces are wanted, and logged where that is."""

    def __init__(self, application: ASGIApp, metrics: HttpMetrics, tracing: Tracing, *, logged: bool) -> None:
        self._application = application
        self._metrics = metrics
        self._tracing = tracing
        self._logged = logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and tell of it at its end."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
        elif self._tracing.on and scope["path"] not in _PROBES:
            await self._traced(scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = _method(scope)
        parent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
        told = {"http.request.method": method, "url.scheme": scope["scheme"]}
        with self._tracing.span(method, SpanKind.SERVER, told, parent=parent) as span:
            status = await self._counted(scope, receive, send)
            span.update_name(f"{method} {route_of(scope)}")
            span.set_attributes({"http.route": route_of(scope), "http.response.status_code": status})

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> str:
        begun, status = time.perf_counter(), "none"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._application(scope, receive, noting)
        finally:
            taken = time.perf_counter() - begun
            method, route = _method(scope), route_of(scope)
            self._metrics.answered(method, route, status, taken)
            if self._logged:
                _log.info("request", method=method, route=route, status=status, seconds=round(taken, 6))
        return status


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The template of the route that took a request."""
    route: str = getattr(scope.get("route"), "path", UNMATCHED)
    return route
