"""REST for reading, as in the book: lists and single things as plain JSON in camel case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from myevents.errors import ErrorCode, Refused
from myevents.web import (
    ANSWER_BYTES,
    ANSWER_TOO_LARGE,
    DEADLINE_SECONDS,
    Answer,
    WhileConnected,
    deadline_refusal,
    error_answer,
    problem,
)
from query import filters
from query.answers import Answers, Question, asks_afresh
from query.paging import Listing, Window
from query.position import HEADER, Position
from query.reads import Reads, Row
from schema import read_tables
from schema.event_filter import EventFilter
from schema.read_models import BookingRow, EventRow, LocationRow

_JSON = "application/json"
_PUBLIC = {"Vary": "MyEvents-Position", "Cache-Control": "no-cache"}
"""What is answered is the same for everybody; a cache in front may keep it, but asks us each time."""
_HIDDEN = {"name_folded", "organizer_id"}
_encode = msgspec.json.Encoder(decimal_format="string").encode


Handler = Callable[[Request, Reads, Position], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def rest_routes(reads: Reads, answers: Answers) -> list[Route]:
    """The routes that read. What they answer is the same for everybody."""
    published = filters.event_conditions(EventFilter())

    async def events(request: Request, reads: Reads, position: Position) -> Response:
        await position.reached("events")
        listing = Listing(table=read_tables.events, conditions=published, column="starts_at", scope="rest events")
        return await _list(request, reads, listing, EventRow)

    async def locations(request: Request, reads: Reads, position: Position) -> Response:
        await position.reached("locations")
        listing = Listing(table=read_tables.locations, conditions=(), column="name", scope="rest locations")
        return await _list(request, reads, listing, LocationRow)

    async def event(request: Request, reads: Reads, position: Position) -> Response:
        await position.reached("events")
        row = (await reads.events([_id(request)])).get(_id(request))
        return _one(row if row and row.status != "DRAFT" else None, "event")

    async def location(request: Request, reads: Reads, position: Position) -> Response:
        await position.reached("locations")
        return _one((await reads.locations([_id(request)])).get(_id(request)), "location")

    async def event_by_name(request: Request, reads: Reads, position: Position) -> Response:
        await position.reached("events")
        name: str = request.path_params["name"]
        if "\0" in name or len(name) > 500 or not name.isprintable():
            return _one(None, "event")
        listing = Listing(
            table=read_tables.events,
            conditions=(*published, read_tables.events.c.name == name),
            column="starts_at",
            scope="rest name",
            halls="all",
        )
        page = await reads.page(listing, EventRow, Window(first=1))
        return _one(page.rows[0] if page.rows else None, "event")

    def route(path: str, handler: Handler) -> Route:
        return Route(path, _endpoint(reads, answers, handler), methods=["GET"])

    return [
        route("/api/events", events),
        route("/api/events/id/{id}", event),
        route("/api/events/name/{name:path}", event_by_name),
        route("/api/events/{id}", event),
        route("/api/locations", locations),
        route("/api/locations/{id}", location),
    ]


def openapi() -> dict[str, Any]:
    """`paths` of OpenAPI 3.1."""
    return {
        "paths": {
            "/api/events": {
                "get": _operation("listEvents", "Published events, soonest first, without halls", paged=True)
            },
            "/api/events/{id}": {"get": _operation("getEvent", "One event", "id")},
            "/api/events/id/{id}": {"get": _operation("getEventById", "One event", "id")},
            "/api/events/name/{name}": {"get": _operation("getEventByName", "The soonest event of a name", "name")},
            "/api/locations": {"get": _operation("listLocations", "Locations by name, without halls", paged=True)},
            "/api/locations/{id}": {"get": _operation("getLocation", "One location", "id")},
        }
    }


def _operation(name: str, summary: str, *path: str, paged: bool = False) -> dict[str, Any]:
    text = {"type": "string"}
    parameters: list[dict[str, Any]] = [{"name": p, "in": "path", "required": True, "schema": text} for p in path]
    if paged:
        size = {"type": "integer", "minimum": 1, "maximum": 100}
        parameters += [
            {"name": "first", "in": "query", "schema": size},
            {"name": "after", "in": "query", "schema": text},
        ]
    problem_document = {"application/problem+json": {"schema": {"type": "object"}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Found", "content": {"application/json": {"schema": {"type": "object"}}}},
            "400": {"description": "Cannot be asked", "content": problem_document},
            "404": {"description": "Not found", "content": problem_document},
        },
    }


def _endpoint(reads: Reads, answers: Answers, handler: Handler) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        ours, end = reads.of_request(), asyncio.get_running_loop().time() + DEADLINE_SECONDS
        try:
            position = Position(ours, request.headers.get(HEADER))
        except Refused as refused:
            return problem(refused)

        async def made() -> Answer:
            try:
                # From the request's start on: who waits for another one's answer first has no more time than others.
                async with asyncio.timeout_at(end):
                    response = await handler(request, ours, position)
            except TimeoutError:
                response = problem(deadline_refusal(command=False))
            except Exception as error:
                response = error_answer(error)
            return Answer(response=response, whole=response.status_code == 200)

        address: str = request.scope["path"]
        question = Question(
            asked=b"REST %s\n%s" % (address.encode("utf-8", "surrogatepass"), request.scope["query_string"]),
            viewer=None,
            position=position,
            versions=ours.versions,
            media_type=_JSON,
            headers=_PUBLIC,
            fresh=asks_afresh(request),
        )
        try:
            return await answers.answer(question, made, partial(WhileConnected, request))
        except ClientDisconnect:
            return Response(status_code=400)

    return endpoint


async def _list(request: Request, reads: Reads, listing: Listing, kind: type[Row]) -> Response:
    page = await reads.page(listing, kind, Window(first=_first(request), after=request.query_params.get("after")))
    document = {
        "nodes": [_in_list(row) for row in page.rows],
        "next": page.end if page.has_next else None,
    }
    body = _encode(document)
    if len(body) > ANSWER_BYTES:
        raise Refused(ErrorCode.INVALID_INPUT, ANSWER_TOO_LARGE, ("first",))
    return Response(body, headers=_PUBLIC, media_type=_JSON)


def _in_list(row: EventRow | LocationRow | BookingRow) -> dict[str, Any]:
    """Return a row as lists show it: without halls, of which a location may have many."""
    document: dict[str, Any] = _document(row)
    location = document.get("location") if isinstance(row, EventRow) else document
    if location is not None:
        location.pop("halls", None)
    return document


def _first(request: Request) -> int | None:
    text = request.query_params.get("first")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise Refused(ErrorCode.INVALID_INPUT, "It takes 1 to 100.", ("first",))
    return int(text)


def _id(request: Request) -> str:
    text: str = request.path_params["id"]
    return text if text.isascii() and text.isprintable() and len(text) <= 64 else ""


def _one(row: msgspec.Struct | None, what: str) -> Response:
    if row is None:
        return problem(Refused(ErrorCode.NOT_FOUND, f"There is no such {what}.", ("id",)))
    return Response(_encode(_document(row)), headers=_PUBLIC, media_type=_JSON)


def _document(value: Any) -> Any:
    """A row in camel case; what is only for searching stays inside."""
    if isinstance(value, msgspec.Struct):
        return {shown: _document(getattr(value, name)) for name, shown in _shown(type(value))}
    if isinstance(value, tuple):
        return [_document(item) for item in value]
    return value


@cache
def _shown(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """The fields of a row that are shown, and what they are called."""
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return tuple((name, _camel(shown)) for name, shown in names if name not in _HIDDEN)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)
