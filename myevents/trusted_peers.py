"""Headers that only a known proxy may send: where a request comes from, and the trace that it belongs to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_TRACE_HEADERS: Final = (b"traceparent", b"tracestate")


class TrustedPeers:
    """An application that sees `X-Forwarded-For`, `traceparent` and `tracestate` of peers in `networks` alone.

    From everybody else a request comes from its connection's address, and its trace begins here.
    """

    def __init__(self, application: ASGIApp, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._others = application
        self._trusted = cast("ASGIApp", ProxyHeadersMiddleware(application, list(networks)))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, without the headers that its peer may not send."""
        if self._networks and self._trusts(scope.get("client")):
            await self._trusted(scope, receive, send)
            return
        for name, _ in scope.get("headers", ()):
            if name in _TRACE_HEADERS:
                headers = [header for header in scope["headers"] if header[0] not in _TRACE_HEADERS]
                scope = {**scope, "headers": headers}
                break
        await self._others(scope, receive, send)

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        """Whether the connection's other end is in one of the networks."""
        try:
            address = ipaddress.ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self._networks)
