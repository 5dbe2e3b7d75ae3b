"""The command side's part of /api/openapi.json, made from the inputs that the routes really parse."""

from __future__ import annotations

from typing import Any

import msgspec

from command.caller import KEY_HEADER
from command.inputs import BookingInput, EventInput, HallInput, LocationInput
from myevents.auth import USER_HEADER

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "path"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "path": {"type": "array", "items": {"type": "string"}},
    },
}
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_LIST = {"type": "array", "items": _TEXT}


def openapi() -> dict[str, Any]:
    """`paths` and `components` of OpenAPI 3.1."""
    inputs = (LocationInput, HallInput, EventInput, BookingInput)
    _, components = msgspec.json.schema_components(inputs, ref_template="#/components/schemas/{name}")
    location = _object(id=_TEXT, hallIds=_LIST, version=_WHOLE, position=_TEXT)
    event = _object(id=_TEXT, version=_WHOLE, ticketTypeIds=_LIST, position=_TEXT)
    booking = _object(id=_TEXT, eventId=_TEXT, status=_TEXT, seats=_WHOLE, position=_TEXT)
    components |= {"Problem": _PROBLEM, "LocationRef": location, "EventRef": event, "BookingRef": booking}
    return {
        "paths": {
            "/api/locations": {
                "post": _operation("createLocation", "Create a location", "LocationInput", "LocationRef")
            },
            "/api/locations/{id}/halls": {
                "post": _operation("addHall", "Add a hall", "HallInput", "LocationRef", "id")
            },
            "/api/events": {"post": _operation("createEvent", "Create an event", "EventInput", "EventRef")},
            "/api/events/{id}/bookings": {
                "post": _operation("bookSeats", "Book seats", "BookingInput", "BookingRef", "id")
            },
            "/api/events/{id}/bookings/{bookingId}": {
                "delete": _operation("cancelBooking", "Cancel a booking", None, "BookingRef", "id", "bookingId")
            },
        },
        "components": {"schemas": components},
    }


def _operation(name: str, summary: str, body: str | None, answer: str, *path: str) -> dict[str, Any]:
    problem = {"description": "Refused", "content": {"application/problem+json": {"schema": _ref("Problem")}}}
    success = "201" if body else "200"
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": [
            *({"name": part, "in": "path", "required": True, "schema": _TEXT} for part in path),
            {
                "name": USER_HEADER,
                "in": "header",
                "required": True,
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"},
            },
            {"name": KEY_HEADER, "in": "header", "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"}},
        ],
        "responses": {
            success: {"description": "Recorded", "content": {"application/json": {"schema": _ref(answer)}}},
            **dict.fromkeys(("400", "401", "403", "404", "409", "412", "413", "422", "503"), problem),
        },
    }
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    return operation


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: object) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}
