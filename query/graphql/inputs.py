"""Filters and orders as callers give them, and as the lists take them."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import strawberry

from myevents.errors import ErrorCode, Refused
from query import filters
from query.graphql.enums import BookingStatus, EventStatus
from schema.event_filter import Circle, EventFilter

_MOST_VALUES = 100


@strawberry.input
class DateTimeRange:
    from_: datetime | None = strawberry.field(name="from", default=None)
    until: datetime | None = None


@strawberry.input
class GeoCircle:
    latitude: float
    longitude: float
    radius_km: float

    def circle(self) -> Circle:
        """The circle; raises `Refused` where there is no such place."""
        if not (abs(self.latitude) <= 90 and abs(self.longitude) <= 180 and 0 < self.radius_km <= 20_100):
            message = "Latitude is -90 to 90, longitude -180 to 180, radiusKm over 0 and up to 20,100."
            raise Refused(ErrorCode.INVALID_INPUT, message, ("where", "near"))
        return Circle(latitude=self.latitude, longitude=self.longitude, radius_km=self.radius_km)


@strawberry.input
class EventWhere:
    ids: list[strawberry.ID] | None = None
    name: str | None = None
    status: list[EventStatus] | None = None
    topics: list[str] | None = None
    country: list[str] | None = None
    city: list[str] | None = None
    location_id: strawberry.ID | None = None
    online: bool | None = None
    starts: DateTimeRange | None = None
    near: GeoCircle | None = None
    seats_available_at_least: int | None = strawberry.field(
        description="Only events with at least so many seats left", default=None
    )

    def filter(self) -> EventFilter:
        """The filter; raises `Refused` naming what cannot be asked for."""
        starts = self.starts or DateTimeRange()
        return EventFilter(
            ids=_texts(self.ids, "ids"),
            name=_text(self.name, "name"),
            status=[status.value for status in self.status] if self.status is not None else None,
            topics=_texts(self.topics, "topics"),
            country=_texts(self.country, "country"),
            city=_texts(self.city, "city"),
            location_id=_text(self.location_id, "locationId"),
            online=self.online,
            starts_from=_aware(starts.from_, "from"),
            starts_until=_aware(starts.until, "until"),
            near=self.near.circle() if self.near else None,
            seats_available_at_least=self.seats_available_at_least,
        )


@strawberry.enum
class EventOrderField(Enum):
    STARTS_AT = "STARTS_AT"
    NAME = "NAME"
    CREATED_AT = "CREATED_AT"
    SEATS_AVAILABLE = "SEATS_AVAILABLE"


@strawberry.enum
class Direction(Enum):
    ASC = "ASC"
    DESC = "DESC"


@strawberry.input
class EventOrder:
    field: EventOrderField = EventOrderField.STARTS_AT
    direction: Direction = Direction.ASC


@strawberry.input
class LocationWhere:
    ids: list[strawberry.ID] | None = None
    name: str | None = None
    country: list[str] | None = None
    city: list[str] | None = None
    near: GeoCircle | None = None

    def filter(self) -> filters.LocationFilter:
        """The filter; raises `Refused` naming what cannot be asked for."""
        return filters.LocationFilter(
            ids=_texts(self.ids, "ids"),
            name=_text(self.name, "name"),
            country=_texts(self.country, "country"),
            city=_texts(self.city, "city"),
            near=self.near.circle() if self.near else None,
        )


@strawberry.input
class BookingWhere:
    event_id: strawberry.ID | None = None
    status: list[BookingStatus] | None = None


def _texts(values: list[str] | list[strawberry.ID] | None, name: str) -> list[str] | None:
    if values is None:
        return None
    if len(values) > _MOST_VALUES:
        raise Refused(ErrorCode.INVALID_INPUT, f"It takes at most {_MOST_VALUES} values.", ("where", name))
    return [checked_text(value, "where", name) for value in values]


def _text(value: str | None, name: str) -> str | None:
    return None if value is None else checked_text(value, "where", name)


def checked_text(value: str, *path: str) -> str:
    """The text; raises `Refused` where no row can hold it."""
    if len(value) > 500 or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise Refused(ErrorCode.INVALID_INPUT, "It takes up to 500 characters of Unicode, NUL not among them.", path)
    return value


def _aware(time: datetime | None, name: str) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise Refused(
            ErrorCode.INVALID_INPUT, "A time needs an offset, as 2027-05-01T10:00:00Z has.", ("where", "starts", name)
        )
    return time
