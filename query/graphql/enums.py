"""Where events and bookings stand."""

from __future__ import annotations

from enum import Enum

import strawberry


@strawberry.enum
class EventStatus(Enum):
    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    CANCELLED = "CANCELLED"


@strawberry.enum
class BookingStatus(Enum):
    HELD = "HELD"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
