"""Who asks. The one place that real sign-in will replace: until there are accounts, an opaque id in a header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

USER_HEADER: Final = "MyEvents-User"
_USER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


class BadUser(ValueError):
    """The header is there and does not hold an id."""


def person(headers: Mapping[str, str]) -> str | None:
    """The opaque id of who asks, None for nobody; raises `BadUser` where the header holds no id."""
    value = headers.get(USER_HEADER)
    if value is None:
        return None
    if not _USER.match(value):
        raise BadUser(f"{USER_HEADER} takes 1 to 64 letters, digits, dots, dashes and underscores")
    return value
