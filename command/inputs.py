"""What callers may send, with its limits: one definition for REST, its OpenAPI, and GraphQL."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from myevents.errors import ErrorCode, Refused
from schema.limits import HALLS_LIMIT, LINES_LIMIT, TOPICS_LIMIT

T = TypeVar("T")

MOST_SEATS: Final = 1_000_000
"""Seats of a hall or an event."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=200)]
Description = Annotated[str, Meta(max_length=10_000)]
Url = Annotated[str, Meta(max_length=2000, pattern="^https?://[^\\s]+$")]
Topic = Annotated[str, Meta(min_length=1, max_length=100)]
Topics = Annotated[list[Topic], Meta(max_length=TOPICS_LIMIT)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Capacity = Annotated[int, Meta(ge=1, le=MOST_SEATS)]
Seats = Annotated[int, Meta(ge=1, le=10_000)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Hour = Annotated[int, Meta(ge=0, le=24)]
Time = Annotated[datetime, Meta(tz=True)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]


class Input(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Something a caller sends; an unknown field is an error, since it is most likely a mistyped one."""


class HallInput(Input, frozen=True, kw_only=True):
    name: Name
    location: Text | None = None
    capacity: Capacity


class LocationInput(Input, frozen=True, kw_only=True):
    name: Name
    address: Text | None = None
    city: Text | None = None
    country: Name
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    open_time: Hour | None = None
    close_time: Hour | None = None
    halls: Annotated[list[HallInput], Meta(max_length=HALLS_LIMIT)] = []


class LocationPatchInput(Input, frozen=True, kw_only=True):
    name: Name | UnsetType = UNSET
    address: Text | UnsetType | None = UNSET
    city: Text | UnsetType | None = UNSET
    country: Name | UnsetType = UNSET
    latitude: Latitude | UnsetType | None = UNSET
    longitude: Longitude | UnsetType | None = UNSET
    open_time: Hour | UnsetType | None = UNSET
    close_time: Hour | UnsetType | None = UNSET


class MoneyInput(Input, frozen=True, kw_only=True):
    amount: Annotated[str, Meta(pattern="^[0-9]{1,9}(\\.[0-9]{1,4})?$")]
    currency: Currency

    def exact(self) -> Decimal:
        """The amount as a number."""
        return Decimal(self.amount)


class TicketTypeInput(Input, frozen=True, kw_only=True):
    name: Name
    price: MoneyInput | None = None
    capacity: Capacity
    sales_start_at: Time | None = None
    sales_end_at: Time | None = None


class EventInput(Input, frozen=True, kw_only=True):
    name: Name
    description: Description | None = None
    url: Url | None = None
    topics: Topics = []
    starts_at: Time
    ends_at: Time
    time_zone: Annotated[str, Meta(max_length=64)] | None = None
    location_id: Id | None = None
    hall_id: Id | None = None
    online: bool = False
    capacity: Capacity | None = None
    ticket_types: Annotated[list[TicketTypeInput], Meta(max_length=1)] = []
    seats_per_person: Seats | None = None
    publish: bool = True


class EventPatchInput(Input, frozen=True, kw_only=True):
    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    url: Url | UnsetType | None = UNSET
    topics: Topics | UnsetType = UNSET
    seats_per_person: Seats | UnsetType | None = UNSET


class TimesInput(Input, frozen=True, kw_only=True):
    starts_at: Time
    ends_at: Time


class CapacityInput(Input, frozen=True, kw_only=True):
    capacity: Capacity


class ReasonInput(Input, frozen=True, kw_only=True):
    reason: Text | None = None


class LineInput(Input, frozen=True, kw_only=True):
    ticket_type_id: Id | None = None
    seats: Seats


class BookingInput(Input, frozen=True, kw_only=True):
    """Either `seats`, of the only ticket type, or lines."""

    seats: Seats | None = None
    lines: Annotated[list[LineInput], Meta(min_length=1, max_length=LINES_LIMIT)] | None = None


def parse(kind: type[T], data: bytes) -> T:
    """Read JSON as `kind`; raises `Refused` with the path of what does not fit."""
    try:
        return checked(msgspec.json.decode(data, type=kind))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _misfit(error) from None


def take(kind: type[T], value: object) -> T:
    """Read plain values as `kind`; raises `Refused` with the path of what does not fit."""
    try:
        return checked(msgspec.convert(value, kind))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _misfit(error) from None


def utc(time: datetime, *path: str) -> datetime:
    """The time in UTC; raises `Refused` where its offset carries it out of the years 1 to 9999."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise Refused(ErrorCode.INVALID_INPUT, "The time is out of range.", path) from None


def checked(value: T, path: tuple[str, ...] = ()) -> T:
    """`value`, whose texts hold something and no control character; raises `Refused` naming the one that does not."""
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, Struct):
        for name, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            checked(getattr(value, name), (*path, encoded))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            checked(item, (*path, str(number)))
    return value


def _check_text(text: str, path: tuple[str, ...]) -> None:
    allowed = "\n\r\t" if path[-1:] == ("description",) else ""
    if any((c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c <= "\udfff") and c not in allowed for c in text):
        raise Refused(ErrorCode.INVALID_INPUT, "Control characters and lone surrogates are not allowed.", path)
    if text and not text.strip():
        raise Refused(ErrorCode.INVALID_INPUT, "It must not be blank.", path)


def _misfit(error: Exception) -> Refused:
    """msgspec ends its messages in ` - at `$.halls[0].capacity``; that place becomes the path."""
    message, _, place = str(error).partition(" - at `")
    path = place.rstrip("`").removeprefix("$").replace("[", ".").replace("]", "")
    return Refused(ErrorCode.INVALID_INPUT, f"{message}.", tuple(part for part in path.split(".") if part))
