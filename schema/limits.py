"""How many values a location, an event or a booking has of each list in it: what commands accept, and queries count."""

from __future__ import annotations

from typing import Final

HALLS_LIMIT: Final = 200
TOPICS_LIMIT: Final = 50
TICKET_TYPES_LIMIT: Final = 20
LINES_LIMIT: Final = 20
