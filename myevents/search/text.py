"""The text of an event in which words are looked for, by field."""

from __future__ import annotations

from datetime import UTC
from typing import Final

from schema.read_models import EventRow

_MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def searched(row: EventRow) -> dict[str, str]:
    """Each field of `weights.FIELDS` and its text; `date` is month and year, UTC, in English."""
    starts = row.starts_at.astimezone(UTC)
    location = row.location
    names = (location.name, location.city, location.country) if location else ()
    return {
        "name": row.name,
        "topics": ", ".join(row.topics),
        "place": ", ".join(name for name in dict.fromkeys(names) if name),
        "date": f"{_MONTHS[starts.month - 1]} {starts.year}",
        "description": row.description or "",
    }
