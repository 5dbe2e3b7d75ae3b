"""The outermost part of every HTTP application: lengths are limited before anything is parsed, and every answer says
how browsers and caches may treat it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from myevents.errors import ErrorCode, Refused
from myevents.web import NO_STORE, problem

QUERY_STRING_BYTES: Final = 16 * 1024
QUERY_STRING_PARTS: Final = 100
HEADER_BYTES: Final = 1000
"""Bytes of each header whose value is a list that we parse."""

_LIST_HEADERS: Final = (b"accept", b"if-none-match")
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_NO_STORE: Final = (b"cache-control", NO_STORE.encode())


class Edge:
    """Refuses what is too long; adds `nosniff`, and `no-store` where the answer says nothing about caches itself."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            return self._application(scope, receive, send)

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = _complete(message.get("headers", ()))
            return send(message)

        answer = self._application
        if (refused := _excess(scope)) is not None:
            answer = problem(refused, 414 if refused.path == ("query",) else 400)
        return answer(scope, receive, send_with_headers)


def _complete(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, with those that every answer has; in one loop, since every answer passes here."""
    cached = sniffed = False
    for name, _ in headers:
        if name == b"cache-control":
            cached = True
        elif name == b"x-content-type-options":
            sniffed = True
    complete = list(headers)
    if not sniffed:
        complete.append(_NOSNIFF)
    if not cached:
        complete.append(_NO_STORE)
    return complete


def _excess(scope: Scope) -> Refused | None:
    """The refusal of a request with a part that is too long; None where all parts may be parsed."""
    sent: bytes = scope["query_string"]
    if len(sent) > QUERY_STRING_BYTES or sent.count(b"&") >= QUERY_STRING_PARTS:
        message = f"A query string may have {QUERY_STRING_BYTES:,} bytes and {QUERY_STRING_PARTS} parts."
        return Refused(ErrorCode.INVALID_INPUT, message, ("query",))
    for name, value in scope["headers"]:
        if len(value) > HEADER_BYTES and name in _LIST_HEADERS:
            header = "Accept" if name == b"accept" else "If-None-Match"
            return Refused(ErrorCode.INVALID_INPUT, f"{header} may have {HEADER_BYTES:,} bytes.", (header,))
    return None
