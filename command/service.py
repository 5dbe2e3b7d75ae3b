"""From what callers send to commands: gives out ids and the time, and hands the command to the writer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace
from opentelemetry.trace import SpanKind

from command.event.commands import (
    BookSeats,
    CancelBooking,
    CancelEvent,
    ChangeCapacity,
    ChangeEvent,
    CreateEvent,
    EventPatch,
    MoveEvent,
    PublishEvent,
    RescheduleEvent,
)
from command.inputs import (
    BookingInput,
    EventInput,
    EventPatchInput,
    HallInput,
    LocationInput,
    LocationPatchInput,
    TicketTypeInput,
    TimesInput,
    utc,
)
from command.location.commands import AddHall, ChangeHall, ChangeLocation, CreateLocation, LocationPatch, RemoveHall
from command.round import Accepted, Key
from command.streams import AnyCommand
from command.writer import Writer
from myevents.errors import ErrorCode, Refused
from myevents.telemetry.tracing import Tracing, current_traceparent
from schema.facts import EventDetails, Hall, Line, LocationDetails, Money, TicketType
from schema.ids import Kind, is_id, new_id

_encode = msgspec.json.Encoder(order="deterministic").encode


class Caller(Struct, frozen=True, kw_only=True):
    """Who sends a command and what came with it."""

    user_id: str
    idempotency_key: str | None = None
    traceparent: str | None = None


class CommandService:
    """One method a command. Each returns once it is recorded; raises `Refused` or `StoreUnavailable`."""

    def __init__(
        self,
        writer: Writer,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        tracing: Tracing | None = None,
    ) -> None:
        self._writer = writer
        self._tracing = tracing or Tracing()
        self._now = now

    async def create_location(self, caller: Caller, wish: LocationInput) -> Accepted:
        """Add a location with its halls."""
        command = CreateLocation(
            **self._common(caller),
            location_id=new_id("loc"),
            details=LocationDetails(
                name=wish.name,
                address=wish.address,
                city=wish.city,
                country=wish.country,
                latitude=wish.latitude,
                longitude=wish.longitude,
                open_time=wish.open_time,
                close_time=wish.close_time,
            ),
            halls=tuple(_hall(new_id("hal"), hall) for hall in wish.halls),
        )
        return await self._submit(caller, command, wish)

    async def change_location(
        self, caller: Caller, location_id: str, wish: LocationPatchInput, expected_version: int | None = None
    ) -> Accepted:
        """Change some of a location's details."""
        patch = LocationPatch(**_set_fields(wish))
        command = ChangeLocation(
            **self._common(caller, expected_version), location_id=_location(location_id), patch=patch
        )
        return await self._submit(caller, command, wish, expected_version)

    async def add_hall(self, caller: Caller, location_id: str, wish: HallInput) -> Accepted:
        """Add a hall to a location."""
        hall = _hall(new_id("hal"), wish)
        return await self._submit(
            caller, AddHall(**self._common(caller), location_id=_location(location_id), hall=hall), wish
        )

    async def change_hall(self, caller: Caller, location_id: str, hall_id: str, wish: HallInput) -> Accepted:
        """Change a hall; it never gets smaller than an event in it."""
        hall = _hall(_checked("hal", hall_id, "hallId"), wish)
        command = ChangeHall(**self._common(caller), location_id=_location(location_id), hall=hall)
        return await self._submit(caller, command, wish)

    async def remove_hall(self, caller: Caller, location_id: str, hall_id: str) -> Accepted:
        """Remove a hall that no event has."""
        hall_id = _checked("hal", hall_id, "hallId")
        command = RemoveHall(**self._common(caller), location_id=_location(location_id), hall_id=hall_id)
        return await self._submit(caller, command)

    async def create_event(self, caller: Caller, wish: EventInput) -> Accepted:
        """Create an event, published or as a draft."""
        type_id = new_id("typ")
        command = CreateEvent(
            **self._common(caller),
            event_id=new_id("evt"),
            details=EventDetails(
                name=wish.name,
                description=wish.description,
                url=wish.url,
                topics=tuple(dict.fromkeys(wish.topics)),
                seats_per_person=wish.seats_per_person,
            ),
            starts_at=utc(wish.starts_at, "startsAt"),
            ends_at=utc(wish.ends_at, "endsAt"),
            time_zone=wish.time_zone,
            location_id=wish.location_id,
            hall_id=wish.hall_id,
            online=wish.online,
            capacity=wish.capacity,
            ticket_type_id=type_id,
            ticket_type=_ticket_type(type_id, wish.ticket_types[0]) if wish.ticket_types else None,
            publish=wish.publish,
        )
        return await self._submit(caller, command, wish)

    async def change_event(
        self, caller: Caller, event_id: str, wish: EventPatchInput, expected_version: int | None = None
    ) -> Accepted:
        """Change some of an event's details."""
        values = _set_fields(wish)
        if "topics" in values:
            values["topics"] = tuple(dict.fromkeys(values["topics"]))
        command = ChangeEvent(
            **self._common(caller, expected_version), event_id=_event(event_id), patch=EventPatch(**values)
        )
        return await self._submit(caller, command, wish, expected_version)

    async def publish_event(self, caller: Caller, event_id: str) -> Accepted:
        """Open a draft to the public."""
        return await self._submit(caller, PublishEvent(**self._common(caller), event_id=_event(event_id)))

    async def reschedule_event(self, caller: Caller, event_id: str, wish: TimesInput) -> Accepted:
        """Give an event another time."""
        command = RescheduleEvent(
            **self._common(caller),
            event_id=_event(event_id),
            starts_at=utc(wish.starts_at, "startsAt"),
            ends_at=utc(wish.ends_at, "endsAt"),
        )
        return await self._submit(caller, command, wish)

    async def move_event(self, caller: Caller, event_id: str, location_id: str, hall_id: str) -> Accepted:
        """Give an event another hall."""
        command = MoveEvent(
            **self._common(caller),
            event_id=_event(event_id),
            location_id=_location(location_id),
            hall_id=_checked("hal", hall_id, "hallId"),
        )
        return await self._submit(caller, command)

    async def change_capacity(self, caller: Caller, event_id: str, capacity: int) -> Accepted:
        """Give an event more or fewer seats, never fewer than are booked."""
        command = ChangeCapacity(**self._common(caller), event_id=_event(event_id), capacity=capacity)
        return await self._submit(caller, command)

    async def cancel_event(self, caller: Caller, event_id: str, reason: str | None = None) -> Accepted:
        """Cancel an event and every booking of it."""
        command = CancelEvent(**self._common(caller), event_id=_event(event_id), reason=reason)
        return await self._submit(caller, command)

    async def book_seats(self, caller: Caller, event_id: str, wish: BookingInput) -> Accepted:
        """Book seats at once."""
        if (wish.seats is None) == (wish.lines is None):
            raise Refused(ErrorCode.INVALID_INPUT, "Give either seats or lines.", ("seats",))
        lines = tuple(Line(ticket_type_id=line.ticket_type_id or "", seats=line.seats) for line in wish.lines or ())
        command = BookSeats(
            **self._common(caller),
            event_id=_event(event_id),
            booking_id=new_id("bkg"),
            seats=wish.seats or 0,
            lines=lines,
        )
        return await self._submit(caller, command, wish)

    async def cancel_booking(self, caller: Caller, event_id: str, booking_id: str) -> Accepted:
        """Give the seats of one's own booking back."""
        booking_id = _checked("bkg", booking_id, "bookingId")
        command = CancelBooking(**self._common(caller), event_id=_event(event_id), booking_id=booking_id)
        return await self._submit(caller, command)

    def _common(self, caller: Caller, expected_version: int | None = None) -> dict[str, Any]:
        return {
            "command_id": new_id("cmd"),
            "at": self._now(),
            "user_id": caller.user_id,
            "traceparent": caller.traceparent,
            "expected_version": expected_version,
        }

    async def _submit(self, caller: Caller, command: AnyCommand, *asked: object) -> Accepted:
        key = _key(caller, command, asked)
        if not self._tracing.on:
            return await self._writer.submit(command, key)
        with self._tracing.span(type(command).__name__, SpanKind.INTERNAL, {}):
            return await self._writer.submit(replace(command, traceparent=current_traceparent()), key)


def _key(caller: Caller, command: AnyCommand, asked: tuple[object, ...]) -> Key | None:
    """The caller's key with a hash of what was asked: without the ids and the time that we gave it ourselves."""
    if caller.idempotency_key is None:
        return None
    body = _encode((type(command).__name__, _targets(command), asked))
    return Key(
        user_id=caller.user_id,
        key=caller.idempotency_key,
        # Of fixed size, however long the key is: an index refuses long ones.
        key_hash=hashlib.sha256(_encode((caller.user_id, caller.idempotency_key))).digest(),
        body_hash=hashlib.sha256(body).digest(),
        creates=isinstance(command, CreateEvent | CreateLocation),
    )


def _targets(command: AnyCommand) -> list[object]:
    """What the caller named beside the body: what is there already, and the plain values."""
    match command:
        case CreateEvent() | CreateLocation():
            return []
        case AddHall():
            return [command.location_id]
        case ChangeHall():
            return [command.location_id, command.hall.hall_id]
        case BookSeats():
            return [command.event_id]
        case _:
            given = {"command_id", "at", "traceparent", "patch"}
            return [getattr(command, name) for name in command.__struct_fields__ if name not in given]


def _set_fields(wish: Struct) -> dict[str, Any]:
    return {name: value for name in wish.__struct_fields__ if (value := getattr(wish, name)) is not UNSET}


def _checked(kind: Kind, text: str, name: str) -> str:
    if not is_id(kind, text):
        raise Refused(ErrorCode.NOT_FOUND, f"{name} is not the id of anything here.", (name,))
    return text


def _location(text: str) -> str:
    return _checked("loc", text, "locationId")


def _event(text: str) -> str:
    return _checked("evt", text, "eventId")


def _hall(hall_id: str, wish: HallInput) -> Hall:
    return Hall(hall_id=hall_id, name=wish.name, location=wish.location, capacity=wish.capacity)


def _ticket_type(type_id: str, wish: TicketTypeInput) -> TicketType:
    return TicketType(
        ticket_type_id=type_id,
        name=wish.name,
        price=Money(amount=wish.price.exact(), currency=wish.price.currency) if wish.price else None,
        capacity=wish.capacity,
        sales_start_at=utc(wish.sales_start_at, "ticketTypes", "0", "salesStartAt") if wish.sales_start_at else None,
        sales_end_at=utc(wish.sales_end_at, "ticketTypes", "0", "salesEndAt") if wish.sales_end_at else None,
    )
