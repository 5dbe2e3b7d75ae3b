"""What is asked over HTTP, measured around the whole application: by route, never by path, which callers choose."""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNMATCHED: Final = "unmatched"
"""The route of what no route takes."""

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
        key = (method if method in _METHODS else "other", route, status)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = self._count.labels(self._service, *key)
        count.inc()
        taken = self._times.get(route)
        if taken is None:
            taken = self._times[route] = self._time.labels(self._service, route)
        taken.observe(seconds)


class Observed:
    """An application whose requests are counted."""

    def __init__(self, application: ASGIApp, metrics: HttpMetrics) -> None:
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and count it at its end."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        begun, status = time.perf_counter(), "none"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._application(scope, receive, noting)
        finally:
            self._metrics.answered(scope["method"], route_of(scope), status, time.perf_counter() - begun)


def route_of(scope: Scope) -> str:
    """The template of the route that took a request."""
    route: str = getattr(scope.get("route"), "path", UNMATCHED)
    return route
