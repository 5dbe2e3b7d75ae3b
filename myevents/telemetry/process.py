"""What one process tells of itself, gathered: made once, and passed to all parts that have something to tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from myevents.telemetry.caches import Caches
from myevents.telemetry.health import Health
from myevents.telemetry.pools import Pools
from myevents.telemetry.tracing import Tracing


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """The metrics, traces and health of a process that is called `service`."""

    service: str
    tracing: Tracing = field(default_factory=Tracing)
    access_log: bool = False
    """Whether each request is logged."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    health: Health = field(default_factory=Health)
    pools: Pools = field(default_factory=Pools)
    caches: Caches = field(default_factory=Caches)
    looks: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """What brings metrics up to date before they are told."""

    def __post_init__(self) -> None:
        self.registry.register(self.pools)
        self.registry.register(self.caches)

    def application(self) -> Starlette:
        """/metrics, and /healthz and /readyz for who has no port that is public."""

        async def metrics(request: Request) -> Response:
            for look in self.looks:
                await look()
            encode, media = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(self.registry), media_type=media)

        return Starlette(routes=[Route("/metrics", metrics), *self.health.routes()])
