"""Which events somebody asks for: the same filter for lists and for the search."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Circle(Struct, frozen=True, kw_only=True):
    """All within `radius_km` of a point in degrees."""

    latitude: float
    longitude: float
    radius_km: float


class EventFilter(Struct, frozen=True, kw_only=True):
    """Which events; None filters nothing. Drafts are never found, and without a status only what is published is."""

    ids: list[str] | None = None
    name: str | None = None
    status: list[str] | None = None
    topics: list[str] | None = None
    country: list[str] | None = None
    city: list[str] | None = None
    location_id: str | None = None
    online: bool | None = None
    starts_from: datetime | None = None
    starts_until: datetime | None = None
    near: Circle | None = None
    seats_available_at_least: int | None = None

    @property
    def statuses(self) -> list[str]:
        """The statuses that may be found."""
        return [status for status in self.status or ["PUBLISHED"] if status != "DRAFT"]
