"""Filters of the lists, as conditions on the read models' columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema.folding import fold
from schema.read_tables import bookings, events, locations

EVENT_ORDERS: Final = {
    "STARTS_AT": "starts_at",
    "NAME": "name_folded",
    "CREATED_AT": "created_at",
    "SEATS_AVAILABLE": "seats_available",
}
_KM_PER_DEGREE: Final = 111.195
_EARTH_KM: Final = 6371.0


class Circle(msgspec.Struct, frozen=True, kw_only=True):
    """All within `radius_km` of a point in degrees."""

    latitude: float
    longitude: float
    radius_km: float


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; None filters nothing."""

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

    def conditions(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The conditions; drafts are never listed, and without a status only what is published is."""
        c = events.c
        found: list[sa.ColumnElement[bool]] = [
            _among(c.status, [s for s in self.status or ["PUBLISHED"] if s != "DRAFT"])
        ]
        for column, values in ((c.id, self.ids), (c.country, self.country), (c.city, self.city)):
            if values is not None:
                found.append(_among(column, values))
        if self.name is not None:
            found.append(c.name_folded.contains(fold(self.name), autoescape=True))
        if self.topics is not None:
            found.append(c.topics.op("&&")(sa.cast(sa.literal(self.topics, ARRAY(sa.Text)), ARRAY(sa.Text))))
        if self.location_id is not None:
            found.append(c.location_id == self.location_id)
        if self.online is not None:
            found.append(c.online == self.online)
        if self.starts_from is not None:
            found.append(c.starts_at >= self.starts_from)
        if self.starts_until is not None:
            found.append(c.starts_at < self.starts_until)
        if self.near is not None:
            found.extend(within(events, self.near))
        if self.seats_available_at_least is not None:
            found.append(c.seats_available >= self.seats_available_at_least)
        return tuple(found)


class LocationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which locations; None filters nothing."""

    ids: list[str] | None = None
    name: str | None = None
    country: list[str] | None = None
    city: list[str] | None = None
    near: Circle | None = None

    def conditions(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The conditions."""
        c = locations.c
        pairs = ((c.id, self.ids), (c.country, self.country), (c.city, self.city))
        found = [_among(column, values) for column, values in pairs if values is not None]
        if self.name is not None:
            found.append(c.name.icontains(self.name, autoescape=True))
        if self.near is not None:
            found.extend(within(locations, self.near))
        return tuple(found)


class BookingFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which bookings of one person."""

    user_id: str
    event_id: str | None = None
    status: list[str] | None = None

    def conditions(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The conditions; always the person's own alone."""
        found = [bookings.c.user_id == self.user_id]
        if self.event_id is not None:
            found.append(bookings.c.event_id == self.event_id)
        if self.status is not None:
            found.append(_among(bookings.c.status, self.status))
        return tuple(found)


def within(table: sa.Table, circle: Circle) -> list[sa.ColumnElement[bool]]:
    """Rows in the circle: a band of latitudes for the index's sake, then the haversine formula."""
    latitude, longitude = table.c.latitude, table.c.longitude
    band = circle.radius_km / _KM_PER_DEGREE
    south, east = sa.func.radians(latitude - circle.latitude), sa.func.radians(longitude - circle.longitude)
    here = sa.func.cos(sa.func.radians(sa.literal(circle.latitude, sa.Float)))
    half: Any = sa.func.power(sa.func.sin(south / 2), 2) + here * sa.func.cos(
        sa.func.radians(latitude)
    ) * sa.func.power(sa.func.sin(east / 2), 2)
    distance = 2 * _EARTH_KM * sa.func.asin(sa.func.least(1.0, sa.func.sqrt(half)))
    return [latitude.between(circle.latitude - band, circle.latitude + band), distance <= circle.radius_km]


def _among(column: sa.Column[Any], values: list[str]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.cast(sa.literal(values, ARRAY(sa.Text)), ARRAY(sa.Text)))
