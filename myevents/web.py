"""What both services do with HTTP: requests as bounded bytes, refusals as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from myevents.errors import ErrorCode, Refused, StoreUnavailable

_log = structlog.get_logger()

BODY_LIMIT: Final = 64 * 1024
"""Bytes of a request's body."""

STATUS: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.INVALID_INPUT: 400,
    ErrorCode.NOT_SIGNED_IN: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.VERSION_MISMATCH: 412,
    ErrorCode.IDEMPOTENCY_KEY_REUSED: 422,
    ErrorCode.OVERLOADED: 503,
}
"""HTTP status by code; every other refusal is a conflict with how things stand, 409."""


class Answer(Struct, frozen=True, kw_only=True):
    """An answer, and whether it is `whole`: all that was asked for, and no error in it."""

    response: Response
    whole: bool


Make = Callable[[], Awaitable[Answer]]
"""Makes an answer; what goes wrong is in it."""


class BodyTooLarge(Exception):
    """The body is over `BODY_LIMIT`."""


async def body_of(request: Request) -> bytes:
    """The request's body; raises `BodyTooLarge` once it is over the limit, without reading the rest."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise BodyTooLarge
        chunks.append(chunk)
    return b"".join(chunks)


def as_refusal(error: Exception) -> Refused:
    """What the caller is told of `error`; raises it again where it is no refusal."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StoreUnavailable):
        return Refused(ErrorCode.OVERLOADED, str(error), (), 1.0)
    raise error


def problem(refused: Refused, status: int | None = None) -> Response:
    """The problem document of a refusal."""
    status = status or STATUS.get(refused.code, 409)
    title = refused.code.replace("_", " ").capitalize()
    headers = {"Retry-After": str(round(refused.retry_after or 1))} if status in (429, 503) else None
    details = {"detail": refused.message, "code": refused.code.value, "path": refused.path}
    return _document(status, title, details, headers)


def _document(
    status: int, title: str, details: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document (RFC 9457)."""
    document = {"type": "about:blank", "title": title, "status": status, **details}
    return Response(msgspec.json.encode(document), status, headers, "application/problem+json")


def error_answer(error: Exception) -> Response:
    """The problem document of any error: of one that nobody foresaw it tells nothing, and the log tells where."""
    try:
        return problem(as_refusal(error))
    except Exception:
        _log.exception("request_failed")
        return _document(
            500, "Internal error", {"detail": "Something went wrong on our side: try again later.", "path": ()}
        )


def too_large() -> Response:
    """The problem document of a body over the limit."""
    refused = Refused(ErrorCode.INVALID_INPUT, f"The body may have at most {BODY_LIMIT} bytes.", ("body",))
    return problem(refused, 413)


async def as_server_error(_: Request, error: Exception) -> Response:
    """The problem document of what no route has caught."""
    return error_answer(error)


async def as_problem(_: Request, error: Exception) -> Response:
    """The problem document of what no route takes: a path that is not there, a method that it does not know."""
    assert isinstance(error, HTTPException)
    code = ErrorCode.NOT_FOUND if error.status_code == 404 else ErrorCode.INVALID_INPUT
    answer = problem(
        Refused(code, f"{error.detail}: /api/openapi.json lists what there is.", ("path",)), error.status_code
    )
    answer.headers.update(error.headers or {})
    return answer
