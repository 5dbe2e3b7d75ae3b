"""The mutations. A refusal is data in the payload; only what is no GraphQL at all is a GraphQL error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import msgspec
import strawberry
from msgspec import Struct

from command import inputs
from command.graphql import types as t
from command.round import Accepted
from command.service import Caller, CommandService
from myevents.errors import Refused
from myevents.web import as_refusal

In = TypeVar("In", bound=inputs.Input)


class Context(Struct, frozen=True, kw_only=True):
    """What a request brings: who sends it, or why nobody can be told, and the service."""

    caller: Caller | Refused
    service: CommandService
    rejections: list[Refused | None] = msgspec.field(default_factory=list)
    """One for each mutation that has ended; None for an accepted one."""


Info = strawberry.Info[Context, None]


Act = Callable[[CommandService, Caller], Awaitable[Accepted]]


async def _accepted(info: Info, act: Act) -> Accepted | list[t.Error]:
    """Run a command for the caller; several mutations of one request have a key each, by their names in it."""
    try:
        caller = info.context.caller
        if isinstance(caller, Refused):
            raise caller
        if caller.idempotency_key is not None:
            caller = msgspec.structs.replace(caller, idempotency_key=f"{caller.idempotency_key}#{info.path.key}")
        accepted = await act(info.context.service, caller)
    except Exception as error:
        rejection = as_refusal(error)
        info.context.rejections.append(rejection)
        return [t.Error.of(rejection)]
    info.context.rejections.append(None)
    return accepted


async def _location(info: Info, act: Act) -> t.LocationPayload:
    done = await _accepted(info, act)
    return t.location_payload(done) if isinstance(done, Accepted) else t.LocationPayload(errors=done)


async def _event(info: Info, act: Act) -> t.EventPayload:
    done = await _accepted(info, act)
    return t.event_payload(done) if isinstance(done, Accepted) else t.EventPayload(errors=done)


async def _booking(info: Info, act: Act) -> t.BookingPayload:
    done = await _accepted(info, act)
    return t.booking_payload(done) if isinstance(done, Accepted) else t.BookingPayload(errors=done)


async def _read(kind: type[In], value: object, do: Callable[[In], Awaitable[Accepted]]) -> Accepted:
    """Check an input against its limits before it is acted on."""
    return await do(inputs.take(kind, t.plain(value)))


@strawberry.type
class Query:
    @strawberry.field
    def health(self) -> str:
        """`ok` while the service answers."""
        return "ok"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def create_location(self, info: Info, input: t.LocationInput) -> t.LocationPayload:
        return await _location(info, lambda s, c: _read(inputs.LocationInput, input, lambda w: s.create_location(c, w)))

    @strawberry.mutation
    async def change_location(
        self, info: Info, id: strawberry.ID, patch: t.LocationPatch, expected_version: int | None = None
    ) -> t.LocationPayload:
        return await _location(
            info,
            lambda s, c: _read(
                inputs.LocationPatchInput, patch, lambda w: s.change_location(c, id, w, expected_version)
            ),
        )

    @strawberry.mutation
    async def add_hall(self, info: Info, location_id: strawberry.ID, input: t.HallInput) -> t.LocationPayload:
        return await _location(
            info, lambda s, c: _read(inputs.HallInput, input, lambda w: s.add_hall(c, location_id, w))
        )

    @strawberry.mutation
    async def change_hall(
        self, info: Info, location_id: strawberry.ID, hall_id: strawberry.ID, input: t.HallInput
    ) -> t.LocationPayload:
        return await _location(
            info, lambda s, c: _read(inputs.HallInput, input, lambda w: s.change_hall(c, location_id, hall_id, w))
        )

    @strawberry.mutation
    async def remove_hall(self, info: Info, location_id: strawberry.ID, hall_id: strawberry.ID) -> t.LocationPayload:
        return await _location(info, lambda s, c: s.remove_hall(c, location_id, hall_id))

    @strawberry.mutation
    async def create_event(self, info: Info, input: t.EventInput) -> t.EventPayload:
        return await _event(info, lambda s, c: _read(inputs.EventInput, input, lambda w: s.create_event(c, w)))

    @strawberry.mutation
    async def change_event(
        self, info: Info, id: strawberry.ID, patch: t.EventPatch, expected_version: int | None = None
    ) -> t.EventPayload:
        return await _event(
            info,
            lambda s, c: _read(inputs.EventPatchInput, patch, lambda w: s.change_event(c, id, w, expected_version)),
        )

    @strawberry.mutation
    async def publish_event(self, info: Info, id: strawberry.ID) -> t.EventPayload:
        return await _event(info, lambda s, c: s.publish_event(c, id))

    @strawberry.mutation
    async def reschedule_event(
        self, info: Info, id: strawberry.ID, starts_at: datetime, ends_at: datetime
    ) -> t.EventPayload:
        return await _event(
            info,
            lambda s, c: _read(
                inputs.TimesInput, {"startsAt": starts_at, "endsAt": ends_at}, lambda w: s.reschedule_event(c, id, w)
            ),
        )

    @strawberry.mutation
    async def move_event(
        self, info: Info, id: strawberry.ID, location_id: strawberry.ID, hall_id: strawberry.ID
    ) -> t.EventPayload:
        return await _event(info, lambda s, c: s.move_event(c, id, location_id, hall_id))

    @strawberry.mutation
    async def change_capacity(self, info: Info, id: strawberry.ID, capacity: int) -> t.EventPayload:
        return await _event(
            info,
            lambda s, c: _read(
                inputs.CapacityInput, {"capacity": capacity}, lambda w: s.change_capacity(c, id, w.capacity)
            ),
        )

    @strawberry.mutation
    async def cancel_event(self, info: Info, id: strawberry.ID, reason: str | None = None) -> t.EventPayload:
        return await _event(
            info, lambda s, c: _read(inputs.ReasonInput, {"reason": reason}, lambda w: s.cancel_event(c, id, w.reason))
        )

    @strawberry.mutation
    async def book_seats(self, info: Info, input: t.BookSeatsInput) -> t.BookingPayload:
        return await _booking(
            info,
            lambda s, c: _read(
                inputs.BookingInput, _without_event(input), lambda w: s.book_seats(c, input.event_id, w)
            ),
        )

    @strawberry.mutation
    async def cancel_booking(self, info: Info, event_id: strawberry.ID, booking_id: strawberry.ID) -> t.BookingPayload:
        return await _booking(info, lambda s, c: s.cancel_booking(c, event_id, booking_id))


def _without_event(given: t.BookSeatsInput) -> dict[str, object]:
    """The booking without the event, which REST has in the path."""
    values: dict[str, object] = t.plain(given)
    values.pop("eventId")
    return values
