"""Who sends a command, and what comes with it in the headers."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from command.service import Caller
from myevents.auth import BadUser, person
from myevents.errors import ErrorCode, Refused
from myevents.telemetry.tracing import valid_traceparent

KEY_HEADER: Final = "Idempotency-Key"


def caller_of(request: Request) -> Caller:
    """Who sends the command; raises `Refused` where nobody says so, or a header cannot be used."""
    try:
        user_id = person(request.headers)
    except BadUser as error:
        raise Refused(ErrorCode.INVALID_INPUT, f"{error}.", ("MyEvents-User",)) from None
    if user_id is None:
        raise Refused(ErrorCode.NOT_SIGNED_IN, "Say who you are: send the header MyEvents-User.", ("MyEvents-User",))
    key = request.headers.get(KEY_HEADER)
    if key is not None and not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):
        raise Refused(ErrorCode.INVALID_INPUT, "It takes 1 to 200 printable ASCII characters.", (KEY_HEADER,))
    return Caller(
        user_id=user_id, idempotency_key=key, traceparent=valid_traceparent(request.headers.get("traceparent"))
    )
