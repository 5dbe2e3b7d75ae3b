"""The times that a new event may have. Facts from before these limits keep theirs: only commands are checked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from myevents.errors import ErrorCode, Refused

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2999
"""Years in UTC. Far from the first and the last moment there is, which the database's driver reads as infinity."""

LONGEST_EVENT_DAYS: Final = 3660
"""Ten years, as of an exhibition that stays: 5,270,400 minutes, which fit 32 bits."""


def check_period(starts_at: datetime | None, ends_at: datetime | None, start: str, end: str, *path: str) -> None:
    """Raise `Refused`, naming the field under `path`, where a time given is out of range or order."""
    for name, time in ((start, starts_at), (end, ends_at)):
        if time is not None and not FIRST_YEAR <= time.year <= LAST_YEAR:
            message = f"{name} must be in the years {FIRST_YEAR} to {LAST_YEAR}, in UTC."
            raise Refused(ErrorCode.INVALID_INPUT, message, (*path, name))
    if starts_at is None or ends_at is None:
        return
    if ends_at <= starts_at:
        raise Refused(ErrorCode.INVALID_INPUT, f"{end} must be after {start}.", (*path, end))
    if ends_at - starts_at > timedelta(days=LONGEST_EVENT_DAYS):
        message = f"{end} must be at most {LONGEST_EVENT_DAYS} days after {start}."
        raise Refused(ErrorCode.INVALID_INPUT, message, (*path, end))
