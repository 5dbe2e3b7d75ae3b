"""The types of the write side's GraphQL, as promised. `command.inputs` reads inputs again and has the limits."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Any

import strawberry
from strawberry.utils.str_converters import to_camel_case

from command.commands import BookingRef as BookingAnswer
from command.commands import EventRef as EventAnswer
from command.commands import LocationRef as LocationAnswer
from command.round import Accepted
from myevents.errors import ErrorCode, Refused
from myevents.graphql_limits import at_most
from schema.limits import HALLS_LIMIT, TICKET_TYPES_LIMIT

strawberry.enum(ErrorCode, name="ErrorCode")

_ERRORS_LIMIT = 20
_PATH_LIMIT = 10


@strawberry.type
class Error:
    code: ErrorCode
    message: str
    path: list[str] = strawberry.field(description="Where in the input", metadata=at_most(_PATH_LIMIT))
    retry_after: float | None = strawberry.field(description="Seconds; with OVERLOADED", default=None)

    @classmethod
    def of(cls, refused: Refused) -> Error:
        """The refusal as data."""
        return cls(code=refused.code, message=refused.message, path=list(refused.path), retry_after=refused.retry_after)


@strawberry.input
class HallInput:
    name: str
    location: str | None = strawberry.UNSET
    capacity: int


@strawberry.input
class LocationInput:
    name: str
    address: str | None = strawberry.UNSET
    city: str | None = strawberry.UNSET
    country: str
    latitude: float | None = strawberry.UNSET
    longitude: float | None = strawberry.UNSET
    open_time: int | None = strawberry.UNSET
    close_time: int | None = strawberry.UNSET
    halls: list[HallInput] = strawberry.field(default_factory=list)


@strawberry.input
class LocationPatch:
    name: str | None = strawberry.UNSET
    address: str | None = strawberry.UNSET
    city: str | None = strawberry.UNSET
    country: str | None = strawberry.UNSET
    latitude: float | None = strawberry.UNSET
    longitude: float | None = strawberry.UNSET
    open_time: int | None = strawberry.UNSET
    close_time: int | None = strawberry.UNSET


@strawberry.input
class MoneyInput:
    amount: Decimal
    currency: str


@strawberry.input
class TicketTypeInput:
    name: str
    price: MoneyInput | None = strawberry.UNSET
    capacity: int
    sales_start_at: datetime | None = strawberry.UNSET
    sales_end_at: datetime | None = strawberry.UNSET


@strawberry.input
class EventInput:
    name: str
    description: str | None = strawberry.UNSET
    url: str | None = strawberry.UNSET
    topics: list[str] = strawberry.field(default_factory=list)
    starts_at: datetime
    ends_at: datetime
    time_zone: str | None = strawberry.UNSET
    location_id: strawberry.ID | None = strawberry.UNSET
    hall_id: strawberry.ID | None = strawberry.UNSET
    online: bool = False
    capacity: int | None = strawberry.UNSET
    ticket_types: list[TicketTypeInput] = strawberry.field(default_factory=list)
    seats_per_person: int | None = strawberry.UNSET
    publish: bool = True


@strawberry.input
class EventPatch:
    name: str | None = strawberry.UNSET
    description: str | None = strawberry.UNSET
    url: str | None = strawberry.UNSET
    topics: list[str] | None = strawberry.UNSET
    seats_per_person: int | None = strawberry.UNSET


@strawberry.input
class LineInput:
    ticket_type_id: strawberry.ID | None = strawberry.UNSET
    seats: int


@strawberry.input
class BookSeatsInput:
    event_id: strawberry.ID
    seats: int | None = strawberry.UNSET
    lines: list[LineInput] | None = strawberry.UNSET


@strawberry.type
class LocationRef:
    id: strawberry.ID
    hall_ids: list[strawberry.ID] = strawberry.field(metadata=at_most(HALLS_LIMIT))
    version: int


@strawberry.type
class EventRef:
    id: strawberry.ID
    version: int
    ticket_type_ids: list[strawberry.ID] = strawberry.field(metadata=at_most(TICKET_TYPES_LIMIT))


@strawberry.type
class BookingRef:
    id: strawberry.ID
    event_id: strawberry.ID
    status: str
    seats: int


@strawberry.type
class LocationPayload:
    location: LocationRef | None = None
    position: str | None = None
    errors: list[Error] = strawberry.field(default_factory=list, metadata=at_most(_ERRORS_LIMIT))


@strawberry.type
class EventPayload:
    event: EventRef | None = None
    position: str | None = None
    errors: list[Error] = strawberry.field(default_factory=list, metadata=at_most(_ERRORS_LIMIT))


@strawberry.type
class BookingPayload:
    booking: BookingRef | None = None
    position: str | None = None
    errors: list[Error] = strawberry.field(default_factory=list, metadata=at_most(_ERRORS_LIMIT))


def plain(value: Any) -> Any:
    """An input object as plain values with the names that callers know; what is unset is left out."""
    if dataclasses.is_dataclass(value):
        fields = ((to_camel_case(f.name), getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: plain(item) for name, item in fields if item is not strawberry.UNSET}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return format(value, "f") if isinstance(value, Decimal) else value


def location_payload(accepted: Accepted) -> LocationPayload:
    """The payload of an accepted command on a location."""
    answer = accepted.answer
    assert isinstance(answer, LocationAnswer)
    ref = LocationRef(
        id=strawberry.ID(answer.id), hall_ids=[strawberry.ID(hall) for hall in answer.hall_ids], version=answer.version
    )
    return LocationPayload(location=ref, position=accepted.position)


def event_payload(accepted: Accepted) -> EventPayload:
    """The payload of an accepted command on an event."""
    answer = accepted.answer
    assert isinstance(answer, EventAnswer)
    types = [strawberry.ID(kind) for kind in answer.ticket_type_ids]
    ref = EventRef(id=strawberry.ID(answer.id), version=answer.version, ticket_type_ids=types)
    return EventPayload(event=ref, position=accepted.position)


def booking_payload(accepted: Accepted) -> BookingPayload:
    """The payload of an accepted command on a booking."""
    answer = accepted.answer
    assert isinstance(answer, BookingAnswer)
    ref = BookingRef(
        id=strawberry.ID(answer.id),
        event_id=strawberry.ID(answer.event_id),
        status=answer.status,
        seats=answer.seats,
    )
    return BookingPayload(booking=ref, position=accepted.position)
