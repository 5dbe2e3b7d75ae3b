"""What both services do with HTTP: requests as bounded bytes, refusals as RFC 9457 problem documents."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from myevents.errors import ErrorCode, Refused, StoreUnavailable

_log = structlog.get_logger()

BODY_LIMIT: Final = 64 * 1024
"""Bytes of a request's body."""

DEADLINE_SECONDS: Final = 5.0
"""Seconds a request may take, the arrival of its body included."""

NO_STORE: Final = "private, no-store"
"""The `Cache-Control` of what is a caller's own, of every command's answer and of every error."""
ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Bytes of an answer's body."""

ANSWER_TOO_LARGE: Final = f"The answer has more than {ANSWER_BYTES // 1024**2} MiB: ask for less, or in parts."

DISCONNECT_SECONDS: Final = 0.05
"""Seconds after which it matters to a request under way that its client hangs up."""

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


class WhileConnected(AbstractContextManager[None]):
    """Cancels what runs inside once the client has hung up; it then ends with `ClientDisconnect`.

    For requests whose body has been read. Looks only after `DISCONNECT_SECONDS`: most are answered before.
    """

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._watch: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        """Begin to watch after a while."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(DISCONNECT_SECONDS, self._start)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Watch no more; raises `ClientDisconnect` where this is what ended the work."""
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task is not None and not self._task.uncancel():
            raise ClientDisconnect from error

    def _start(self) -> None:
        self._watch = asyncio.create_task(self._cancel_once_gone())

    async def _cancel_once_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()


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


def deadline_refusal(*, command: bool) -> Refused:
    """The refusal of a request that took over `DEADLINE_SECONDS`; a command may have been recorded all the same."""
    if not command:
        return Refused(ErrorCode.OVERLOADED, "The request took too long: ask for less, or try again.", (), 1.0)
    message = "Nobody knows yet whether this was recorded: send it again with the same Idempotency-Key."
    return Refused(ErrorCode.OVERLOADED, message, (), 1.0)


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
    headers = {"Retry-After": retry_after_seconds(refused)} if status in (429, 503) else {}
    details = {"detail": refused.message, "code": refused.code.value, "path": refused.path}
    return _document(status, title, details, headers)


def error_answer(error: Exception) -> Response:
    """The problem document of any error: of one that nobody foresaw it tells nothing, and the log tells where."""
    try:
        return problem(as_refusal(error))
    except Exception:
        _log.exception("request_failed")
        return _document(
            500, "Internal error", {"detail": "Something went wrong on our side: try again later.", "path": ()}
        )


def _document(
    status: int, title: str, details: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document (RFC 9457)."""
    document = {"type": "about:blank", "title": title, "status": status, **details}
    headers = {"Cache-Control": NO_STORE, **(headers or {})}
    return Response(msgspec.json.encode(document), status, headers, "application/problem+json")


def retry_after_seconds(refused: Refused) -> str:
    """The header `Retry-After` of a refusal that passes: whole seconds, at least 1."""
    return str(max(1, math.ceil(refused.retry_after or 1)))


def too_slow() -> Response:
    """The problem document of a body that did not arrive in time."""
    message = f"The body did not arrive within {DEADLINE_SECONDS:.0f} s: send it again."
    return problem(Refused(ErrorCode.INVALID_INPUT, message, ("body",)), 408)


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
