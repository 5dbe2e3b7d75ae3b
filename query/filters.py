"""Filters of the lists, as conditions on the read models' columns."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from schema.event_filter import Circle, EventFilter
from schema.folding import fold
from schema.geography import EARTH_KM, KM_PER_DEGREE
from schema.read_tables import bookings, events, locations

EVENT_ORDERS: Final = {
    "STARTS_AT": "starts_at",
    "NAME": "name_folded",
    "CREATED_AT": "created_at",
    "SEATS_AVAILABLE": "seats_available",
}


def event_conditions(wanted: EventFilter) -> tuple[sa.ColumnElement[bool], ...]:
    """The conditions of a filter of events."""
    c = events.c
    found: list[sa.ColumnElement[bool]] = [_among(c.status, wanted.statuses)]
    for column, values in ((c.id, wanted.ids), (c.country, wanted.country), (c.city, wanted.city)):
        if values is not None:
            found.append(_among(column, values))
    if wanted.name is not None:
        found.append(c.name_folded.contains(fold(wanted.name), autoescape=True))
    if wanted.topics is not None:
        found.append(c.topics.op("&&")(sa.cast(sa.literal(wanted.topics, ARRAY(sa.Text)), ARRAY(sa.Text))))
    if wanted.location_id is not None:
        found.append(c.location_id == wanted.location_id)
    if wanted.online is not None:
        found.append(c.online == wanted.online)
    if wanted.starts_from is not None:
        found.append(c.starts_at >= wanted.starts_from)
    if wanted.starts_until is not None:
        found.append(c.starts_at < wanted.starts_until)
    if wanted.near is not None:
        found.extend(within(events, wanted.near))
    if wanted.seats_available_at_least is not None:
        found.append(c.seats_available >= wanted.seats_available_at_least)
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
    band = circle.radius_km / KM_PER_DEGREE
    south, east = sa.func.radians(latitude - circle.latitude), sa.func.radians(longitude - circle.longitude)
    here = sa.func.cos(sa.func.radians(sa.literal(circle.latitude, sa.Float)))
    half: Any = sa.func.power(sa.func.sin(south / 2), 2) + here * sa.func.cos(
        sa.func.radians(latitude)
    ) * sa.func.power(sa.func.sin(east / 2), 2)
    distance = 2 * EARTH_KM * sa.func.asin(sa.func.least(1.0, sa.func.sqrt(half)))
    return [latitude.between(circle.latitude - band, circle.latitude + band), distance <= circle.radius_km]


def _among(column: sa.Column[Any], values: list[str]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.cast(sa.literal(values, ARRAY(sa.Text)), ARRAY(sa.Text)))
