"""How many values a row has of each list in it: as many as commands accept. Pages count by their size instead."""

from __future__ import annotations

from typing import Final

HALLS_LIMIT: Final = 200
TOPICS_LIMIT: Final = 50
TICKET_TYPES_LIMIT: Final = 20
LINES_LIMIT: Final = 20
