"""The services as their next version might be: a copy of our packages in which a fact has changed its version.

`SeatsBooked` 2 calls its person `buyerId`, which code that knows version 1 alone cannot read.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

PACKAGES: Final = ("command", "migrations", "myevents", "projector", "query", "schema")

_CHANGES: Final = {
    "schema/facts.py": (
        (
            """    booking_id: str
    user_id: str
    lines: tuple[Line, ...]
""",
            '''    booking_id: str
    buyer_id: str
    lines: tuple[Line, ...]

    @property
    def user_id(self) -> str:
        """What version 1 called them."""
        return self.buyer_id
''',
        ),
        (
            "dict.fromkeys(FACT_TYPES, 1)",
            'dict.fromkeys(FACT_TYPES, 1) | {"SeatsBooked": 2}',
        ),
    ),
    "schema/codec.py": (
        (
            "Callable[[dict[str, Any]], dict[str, Any]]]] = {}",
            """Callable[[dict[str, Any]], dict[str, Any]]]] = {
    ("SeatsBooked", 1): lambda data: {
        "bookingId": data["bookingId"], "buyerId": data["userId"], "lines": data["lines"]
    },
}""",
        ),
    ),
    "command/event/booking.py": (
        (
            "SeatsBooked(booking_id=command.booking_id, user_id=",
            "SeatsBooked(booking_id=command.booking_id, buyer_id=",
        ),
    ),
    "projector/audit_sql.py": (
        (
            "b.data ->> 'userId' as user_id",
            "coalesce(b.data ->> 'buyerId', b.data ->> 'userId') as user_id",
        ),
    ),
}


def newer_code(directory: Path) -> dict[str, str]:
    """Make the copy; the settings that let a process run it."""
    root = Path(__file__).parent.parent
    for package in PACKAGES:
        shutil.copytree(root / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in _CHANGES.items():
        text = (directory / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{name} has changed: {old}"
            text = text.replace(old, new)
        (directory / name).write_text(text)
    return {"PYTHONPATH": str(directory)}
