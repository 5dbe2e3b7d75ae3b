"""The queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import strawberry

from myevents.errors import ErrorCode, Refused
from myevents.graphql_limits import at_most, statements
from query import filters
from query.graphql import inputs as i
from query.graphql import types as t
from query.graphql.asked_fields import halls_asked_for
from query.graphql.search import Searches
from query.graphql.types import Info
from query.paging import Listing, Window, scope_of
from schema import read_models as rows
from schema import read_tables

_MOST_IDS = 100
_MOST_BUILDS = 12
"""A live, a former and a coming build of each read model and of the search index."""


@strawberry.type
class Query(Searches):
    @strawberry.field(metadata=statements(2))  # type: ignore[untyped-decorator]
    async def node(self, info: Info, id: strawberry.ID) -> t.Node | None:
        return (await _nodes(info, [id]))[0]

    @strawberry.field(metadata=statements(4))  # type: ignore[untyped-decorator]
    async def nodes(self, info: Info, ids: list[strawberry.ID]) -> list[t.Node | None]:
        if len(ids) > _MOST_IDS:
            raise Refused(ErrorCode.INVALID_INPUT, f"It takes at most {_MOST_IDS} ids.", ("ids",))
        return await _nodes(info, ids)

    @strawberry.field
    async def event(self, info: Info, id: strawberry.ID) -> t.Event | None:
        row = (await _events(info, [id])).get(id)
        return t.made_of(info, "Event", row, t.Event.of) if row else None

    @strawberry.field
    async def events(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        where: i.EventWhere | None = None,
        order_by: i.EventOrder | None = None,
    ) -> t.EventConnection:
        window = Window(first=first, after=after, last=last, before=before)
        return await t.EventConnection.listed(info, window, where, order_by)

    @strawberry.field
    async def location(self, info: Info, id: strawberry.ID) -> t.Location | None:
        await info.context.position.reached("locations")
        row = (await info.context.reads.locations(_ids([id]))).get(id)
        return t.made_of(info, "Location", row, t.Location.of) if row else None

    @strawberry.field
    async def locations(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        where: i.LocationWhere | None = None,
    ) -> t.LocationConnection:
        await info.context.position.reached("locations")
        wanted = (where or i.LocationWhere()).filter()
        listing = Listing(
            table=read_tables.locations,
            conditions=wanted.conditions(),
            column="name",
            scope=scope_of("locations", wanted),
            halls=halls_asked_for(info),
        )
        window = Window(first=first, after=after, last=last, before=before)
        page = await info.context.reads.page(listing, rows.LocationRow, window)
        served = t.servable(info, page, "Location", t.Location.of)
        return t.LocationConnection(
            listing=listing,
            edges=[t.LocationEdge(cursor=cursor, node=node) for cursor, node in served],
            nodes=[node for _, node in served],
            page_info=t.page_info(page),
        )

    @strawberry.field(metadata=statements(2))  # type: ignore[untyped-decorator]
    async def booking(self, info: Info, id: strawberry.ID) -> t.Booking | None:
        return (await _bookings(info, [id])).get(id)

    @strawberry.field(metadata=statements(2))  # type: ignore[untyped-decorator]
    async def bookings(
        self,
        info: Info,
        event_id: strawberry.ID,
        first: int | None = None,
        after: str | None = None,
        where: i.BookingWhere | None = None,
    ) -> t.BookingConnection | None:
        viewer = info.context.viewer
        if viewer is None:
            return None
        await info.context.position.reached("bookings", "events")
        states = where.status if where else None
        wanted = filters.BookingFilter(
            user_id=viewer,
            event_id=i.checked_text(event_id, "eventId"),
            status=[state.value for state in states] if states is not None else None,
        )
        listing = Listing(
            table=read_tables.bookings,
            conditions=wanted.conditions(),
            column="created_at",
            scope=scope_of("bookings", wanted),
        )
        page = await info.context.reads.page(listing, rows.BookingRow, Window(first=first, after=after))
        events = await info.context.reads.events([event_id])
        served = t.servable(info, page, "Booking", partial(_booking_of, events))
        return t.BookingConnection(
            listing=listing,
            edges=[t.BookingEdge(cursor=cursor, node=node) for cursor, node in served],
            nodes=[node for _, node in served],
            page_info=t.page_info(page),
        )

    @strawberry.field(metadata=at_most(_MOST_BUILDS))  # type: ignore[untyped-decorator]
    async def read_models(self, info: Info) -> list[t.ReadModelStatus]:
        info.context.position.used.momentary = True
        return [t.ReadModelStatus.of(status) for status in await info.context.reads.statuses()]


def _ids(ids: Sequence[str]) -> list[str]:
    """The ids that could be any; a bad one finds nothing."""
    return [text for text in ids if text.isascii() and "\0" not in text and len(text) <= 64]


async def _events(info: Info, ids: Sequence[str]) -> dict[str, rows.EventRow]:
    """Those events; drafts only for somebody who says who he is."""
    await info.context.position.reached("events")
    found = await info.context.reads.events(_ids(ids))
    return {key: row for key, row in found.items() if row.status != "DRAFT" or info.context.signed_in}


async def _bookings(info: Info, ids: Sequence[str]) -> dict[str, t.Booking]:
    viewer = info.context.viewer
    if viewer is None:
        return {}
    await info.context.position.reached("bookings", "events")
    found = await info.context.reads.bookings(_ids(ids), viewer)
    events = await info.context.reads.events([row.event_id for row in found.values()]) if found else {}
    return _served(info, found, "Booking", partial(_booking_of, events))


def _booking_of(events: Mapping[str, rows.EventRow], row: rows.BookingRow) -> t.Booking | None:
    """Return the booking, None where its event cannot be served."""
    return t.Booking.of(row, events[row.event_id]) if row.event_id in events else None


def _served(
    info: Info, found: Mapping[str, t.AnyRow], kind: str, make: Callable[[t.AnyRow], t.Served | None]
) -> dict[str, t.Served]:
    """Return the objects of those rows that can be served, by id."""
    made = ((key, t.made_of(info, kind, row, make)) for key, row in found.items())
    return {key: node for key, node in made if node is not None}


async def _nodes(info: Info, ids: Sequence[str]) -> list[t.Node | None]:
    """What the ids name, in their order; a bad id gives null."""
    found: dict[str, t.Node] = {}
    kinds = {prefix: [text for text in _ids(ids) if text.startswith(prefix)] for prefix in ("evt_", "loc_", "bkg_")}
    if kinds["evt_"]:
        found |= _served(info, await _events(info, kinds["evt_"]), "Event", t.Event.of)
    if kinds["loc_"]:
        await info.context.position.reached("locations")
        located = await info.context.reads.locations(kinds["loc_"])
        found |= _served(info, located, "Location", t.Location.of)
    if kinds["bkg_"]:
        found |= await _bookings(info, kinds["bkg_"])
    return [found.get(text) for text in ids]
