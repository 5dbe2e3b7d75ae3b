"""So many requests a minute from each address, and of each person; more are refused until some time has passed.

Queries and commands are counted apart, and each mutation of a request is a command. Every request is one or the other
but those of `UNCOUNTED`. Counters go by keyed hashes, so that no address is kept anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import math
from collections.abc import Sequence
from typing import Final, Literal

import orjson
from msgspec import Struct
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from myevents.auth import BadUser, person
from myevents.cache.port import Cache
from myevents.errors import ErrorCode, Refused
from myevents.graphql_documents import CHARGE_KEY, TooManyRequests
from myevents.graphql_http import GRAPHQL, JSON
from myevents.negotiation import best
from myevents.web import NO_STORE, problem, retry_after_seconds

_WINDOW: Final = 60.0
_READING: Final = ("GET", "HEAD")

UNCOUNTED: Final = frozenset({"/healthz", "/readyz"})
"""Paths that supervisors ask: a process must not look dead to them because it has many callers."""

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
        kind = rate_class(scope)
        if kind is not None and self._rates[kind]:
            keys = [self._key(f"{kind} {caller}") for caller in _callers(scope)]

            async def charge(more: int) -> Refused | None:
                return await self._charge(keys, kind, more)

            refused = await charge(1)
            if refused is not None:
                await _refusal(scope, refused)(scope, receive, send)
                return
            scope[CHARGE_KEY] = charge
        await self._application(scope, receive, send)

    def _key(self, text: str) -> bytes:
        return b"rate:" + hashlib.blake2b(text.encode(), key=self._secret, digest_size=24).digest()

    async def _charge(self, keys: Sequence[bytes], kind: str, more: int) -> TooManyRequests | None:
        """Count `more` requests; the refusal where one of the counters is over the limit."""
        came, most = max(await self._cache.count_each(keys, _WINDOW, more)), self._rates[kind]
        if came <= most:
            return None
        self.refused[kind] += 1
        # As if they had come evenly: after so long, so many of them are a minute old that one more may come.
        wait = max(1, math.ceil(_WINDOW * (1 - (most - 1) / came)))
        message = f"These were too many requests in a minute: try again in {wait} s."
        if more > 1 and more >= most:
            message = f"A request may have at most {most:,} mutations here: send them in parts."
        return TooManyRequests(ErrorCode.OVERLOADED, message, (), float(wait))


def rate_class(scope: Scope) -> Literal["queries", "commands"] | None:
    """The rate that a request counts for, whether or not a route takes it; None for the paths of `UNCOUNTED` alone."""
    path: str = scope.get("path", "")
    if scope["type"] != "http" or path in UNCOUNTED:
        return None
    if path == "/command" or (path.startswith("/api/") and scope["method"] not in _READING):
        return "commands"
    return "queries"


def _callers(scope: Scope) -> list[str]:
    """The address that a request comes from, and the person who sends it, where it says so."""
    client = scope.get("client")
    callers = [f"address {_network(client[0])}" if client else "nobody"]
    with contextlib.suppress(BadUser):
        if (who := person(Headers(scope=scope))) is not None:
            callers.append(f"user {who}")
    return callers


def _network(address: str) -> str:
    """The address, of IPv6 the network of 64 bits, all of which one caller has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def _refusal(scope: Scope, refused: Refused) -> Response:
    if scope["path"] not in _GRAPHQL_PATHS:
        return problem(refused, 429)
    media = best(Headers(scope=scope).get("accept"), (GRAPHQL, JSON), usual=JSON) or JSON
    wait = retry_after_seconds(refused)
    error = {"message": refused.message, "extensions": {"code": refused.code.value, "retryAfter": int(wait)}}
    headers = {"Retry-After": wait, "Vary": "Accept", "Cache-Control": NO_STORE}
    return Response(orjson.dumps({"errors": [error]}), 429, headers, f"{media}; charset=utf-8")
