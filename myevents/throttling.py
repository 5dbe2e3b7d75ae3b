"""So many requests a minute for each caller; more are refused until some time has passed.

A caller is who says so, else the address that the connection comes from. Queries and commands are counted apart.
Counters go by keyed hashes, so that no address is kept anywhere.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from typing import Final

import orjson
from msgspec import Struct
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from myevents.auth import BadUser, person
from myevents.cache.port import Cache
from myevents.errors import ErrorCode, Refused
from myevents.graphql_http import GRAPHQL, JSON
from myevents.negotiation import best
from myevents.web import problem

_WINDOW: Final = 60.0
_READING: Final = ("GET", "HEAD")
_FREE: Final = "/api/openapi.json"
_GRAPHQL_PATHS: Final = ("/graphql", "/command")


class Rates(Struct, frozen=True, kw_only=True):
    """Requests a minute that one caller may send; 0: any number."""

    queries: int = 0
    commands: int = 0


class Throttled:
    """An application of whose callers each is answered so often. Where `cache` is shared, counts are, with `secret`."""

    def __init__(self, application: ASGIApp, *, cache: Cache, rates: Rates, secret: bytes) -> None:
        self._application = application
        self._cache = cache
        self._rates = {"queries": rates.queries, "commands": rates.commands}
        self._secret = hashlib.blake2b(secret, digest_size=32).digest()
        self.refused = dict.fromkeys(self._rates, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        kind = _kind(scope)
        if kind is not None and self._rates[kind]:
            wait = await self._wait(scope, kind)
            if wait is not None:
                self.refused[kind] += 1
                await _refusal(scope, wait)(scope, receive, send)
                return
        await self._application(scope, receive, send)

    async def _wait(self, scope: Scope, kind: str) -> int | None:
        """Seconds after which the caller may ask again; None where now is right."""
        key = hashlib.blake2b(f"{kind} {_caller(scope)}".encode(), key=self._secret, digest_size=24).digest()
        came, most = await self._cache.count(b"rate:" + key, _WINDOW), self._rates[kind]
        if came <= most:
            return None
        # As if they had come evenly: after so long, so many of them are a minute old that one more may come.
        return max(1, math.ceil(_WINDOW * (1 - (most - 1) / came)))


def _kind(scope: Scope) -> str | None:
    """What a request counts as; None for what is free: health, pages, descriptions."""
    if scope["type"] != "http":
        return None
    path: str = scope["path"]
    if path == "/graphql" or (path.startswith("/api/") and path != _FREE and scope["method"] in _READING):
        return "queries"
    if scope["method"] not in _READING and (path == "/command" or path.startswith("/api/")):
        return "commands"
    return None


def _caller(scope: Scope) -> str:
    try:
        who = person(Headers(scope=scope))
    except BadUser:
        who = None
    if who is not None:
        return f"user {who}"
    client = scope.get("client")
    return f"address {_network(client[0])}" if client else "nobody"


def _network(address: str) -> str:
    """The address, of IPv6 the network of 64 bits, all of which one caller has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def _refusal(scope: Scope, wait: int) -> Response:
    message = f"These were too many requests in a minute: try again in {wait} s."
    refused = Refused(ErrorCode.OVERLOADED, message, (), float(wait))
    if scope["path"] not in _GRAPHQL_PATHS:
        return problem(refused, 429)
    media = best(Headers(scope=scope).get("accept"), (GRAPHQL, JSON), usual=JSON) or JSON
    error = {"message": message, "extensions": {"code": refused.code.value, "retryAfter": wait}}
    headers = {"Retry-After": str(wait), "Vary": "Accept"}
    return Response(orjson.dumps({"errors": [error]}), 429, headers, f"{media}; charset=utf-8")
