"""REST, as in the book: commands under /api. Reading is the query side's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from command.caller import caller_of
from command.inputs import BookingInput, EventInput, HallInput, LocationInput, parse
from command.round import Accepted
from command.service import Caller, CommandService
from myevents.web import (
    DEADLINE_SECONDS,
    NO_STORE,
    BodyTooLarge,
    body_of,
    deadline_refusal,
    error_answer,
    problem,
    too_large,
    too_slow,
)

Endpoint = Callable[[Request], Awaitable[Response]]

_encode = msgspec.json.Encoder().encode


def rest_routes(service: CommandService) -> list[Route]:
    """The routes that record something."""

    async def create_location(_: Request, caller: Caller, body: bytes) -> Accepted:
        return await service.create_location(caller, parse(LocationInput, body))

    async def add_hall(request: Request, caller: Caller, body: bytes) -> Accepted:
        return await service.add_hall(caller, request.path_params["id"], parse(HallInput, body))

    async def create_event(_: Request, caller: Caller, body: bytes) -> Accepted:
        return await service.create_event(caller, parse(EventInput, body))

    async def book_seats(request: Request, caller: Caller, body: bytes) -> Accepted:
        return await service.book_seats(caller, request.path_params["id"], parse(BookingInput, body))

    async def cancel_booking(request: Request, caller: Caller, _: bytes) -> Accepted:
        return await service.cancel_booking(caller, request.path_params["id"], request.path_params["booking_id"])

    return [
        Route("/api/locations", _endpoint(create_location, 201), methods=["POST"]),
        Route("/api/locations/{id}/halls", _endpoint(add_hall, 201), methods=["POST"]),
        Route("/api/events", _endpoint(create_event, 201), methods=["POST"]),
        Route("/api/events/{id}/bookings", _endpoint(book_seats, 201), methods=["POST"]),
        Route("/api/events/{id}/bookings/{booking_id}", _endpoint(cancel_booking, 200), methods=["DELETE"]),
    ]


def _endpoint(act: Callable[[Request, Caller, bytes], Awaitable[Accepted]], status: int) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        body = None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                caller = caller_of(request)
                body = await body_of(request)
                accepted = await act(request, caller, body)
        except BodyTooLarge:
            return too_large()
        except TimeoutError:
            return too_slow() if body is None else problem(deadline_refusal(command=True))
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            return error_answer(error)
        headers = {"MyEvents-Position": accepted.position, "Cache-Control": NO_STORE}
        return Response(_encode(_document(accepted)), status, headers, "application/json")

    return endpoint


def _document(accepted: Accepted) -> dict[str, object]:
    """The answer with its position, in camel case."""
    fields: dict[str, object] = {"position": accepted.position}
    for name in accepted.answer.__struct_fields__:
        head, *rest = name.split("_")
        fields[head + "".join(part.title() for part in rest)] = getattr(accepted.answer, name)
    return fields
