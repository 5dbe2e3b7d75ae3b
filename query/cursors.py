"""Opaque, signed keyset cursors: where a page ends, by the values it is sorted by, for the filter it was made with."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

from myevents.errors import ErrorCode, Refused

_SIGNATURE: Final = 12


class Cursors:
    """Makes and reads cursors; those of another secret, filter or order are refused."""

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret

    def sign_with(self, secret: bytes) -> None:
        """Take the secret, where it was not known from the start."""
        self._secret = secret

    @property
    def known(self) -> bool:
        """Whether there is a secret; without one, making and reading cursors raises `Refused` with OVERLOADED."""
        return bool(self._secret)

    def make(self, scope: str, values: tuple[Any, ...]) -> str:
        """The cursor of a row with those sort values, its id last, in the list that `scope` tells."""
        body = msgspec.json.encode(values)
        return base64.urlsafe_b64encode(self._sign(scope, body) + body).decode().rstrip("=")

    def read(self, cursor: str, scope: str, argument: str) -> list[Any]:
        """The sort values in a cursor; raises `Refused` naming `argument`."""
        try:
            data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            signature, body = data[:_SIGNATURE], data[_SIGNATURE:]
            if hmac.compare_digest(signature, self._sign(scope, body)):
                return list(msgspec.json.decode(body))
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            pass
        message = "The cursor is not of this list: pass one of this query's own, with the same filter and order."
        raise Refused(ErrorCode.INVALID_INPUT, message, (argument,))

    def _sign(self, scope: str, body: bytes) -> bytes:
        if not self._secret:
            raise Refused(ErrorCode.OVERLOADED, "Pages cannot be turned yet: try again shortly.", (), 1.0)
        return hmac.digest(self._secret, scope.encode("utf-8", "surrogatepass") + b"\0" + body, hashlib.sha256)[
            :_SIGNATURE
        ]
