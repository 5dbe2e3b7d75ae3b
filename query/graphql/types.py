"""The types of the read side's GraphQL, as promised; each is made from a row of a read model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import strawberry
from msgspec.structs import replace

from myevents.graphql_limits import at_most
from myevents.model_status import ModelStatus
from myevents.search.highlights import HighlightBudget
from myevents.search.port import SearchBuilds
from query import filters
from query.graphql import inputs as i
from query.graphql.asked_fields import halls_asked_for
from query.graphql.enums import BookingStatus, EventStatus
from query.paging import Listing, Page, Window, scope_of
from query.position import Position
from query.reads import Reads
from schema import read_models as rows
from schema import read_tables, values
from schema.limits import HALLS_LIMIT, LINES_LIMIT, TICKET_TYPES_LIMIT, TOPICS_LIMIT

AnyRow = TypeVar("AnyRow")
Served = TypeVar("Served")

MINUTES_LIMIT: Final = 2**31 - 1
"""The longest duration that GraphQL's `Int` can tell: what older releases accepted may be longer, and says this."""


class Context:
    """What a request brings: the reads, the position to wait for, who asks, and what highlights may cost."""

    def __init__(self, *, reads: Reads, search: SearchBuilds, position: Position, viewer: str | None) -> None:
        self.reads = reads
        self.search = search
        self.position = position
        self.whoever = viewer
        self.highlight_budget = HighlightBudget()

    @property
    def signed_in(self) -> bool:
        """Whether it is known who asks."""
        return self.whoever is not None

    @property
    def viewer(self) -> str | None:
        """Who asks, for resolvers: looking makes the answer theirs, and it is kept for nobody else."""
        self.position.used.personal = True
        return self.whoever


Info = strawberry.Info[Context, None]


@strawberry.interface
class Node:
    id: strawberry.ID


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Money:
    amount: Decimal
    currency: str

    @classmethod
    def of(cls, money: values.Money | None) -> Money | None:
        """The amount as read, None where there is no price."""
        return cls(amount=money.amount, currency=money.currency) if money else None


@strawberry.type
class Hall:
    id: strawberry.ID
    name: str
    location: str | None
    capacity: int

    @classmethod
    def of(cls, hall: values.Hall) -> Hall:
        """The hall as read."""
        return cls(id=strawberry.ID(hall.hall_id), name=hall.name, location=hall.location, capacity=hall.capacity)


@strawberry.type
class Location(Node):
    name: str
    address: str | None
    city: str | None
    country: str
    latitude: float | None
    longitude: float | None
    open_time: int | None = strawberry.field(description="Opening and closing hour, 0 to 24, local time")
    close_time: int | None
    halls: list[Hall] = strawberry.field(metadata=at_most(HALLS_LIMIT))

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
    ) -> EventConnection:
        window = Window(first=first, after=after, last=last, before=before)
        return await EventConnection.listed(info, window, where, order_by, location_id=self.id)

    @classmethod
    def of(cls, row: rows.LocationRow) -> Location:
        """The location as read."""
        return cls(
            id=strawberry.ID(row.id),
            name=row.name,
            address=row.address,
            city=row.city,
            country=row.country,
            latitude=row.latitude,
            longitude=row.longitude,
            open_time=row.open_time,
            close_time=row.close_time,
            halls=[Hall.of(hall) for hall in row.halls],
        )


@strawberry.type
class TicketType:
    id: strawberry.ID
    name: str
    price: Money | None
    capacity: int
    seats_available: int
    sales_start_at: datetime | None
    sales_end_at: datetime | None


@strawberry.type
class Event(Node):
    row: strawberry.Private[rows.EventRow]
    name: str
    description: str | None
    url: str | None
    topics: list[str] = strawberry.field(metadata=at_most(TOPICS_LIMIT))
    status: EventStatus
    starts_at: datetime
    ends_at: datetime
    time_zone: str | None
    online: bool
    capacity: int
    seats_booked: int
    seats_available: int
    seats_per_person: int | None = strawberry.field(description="The most seats one person may have; null for no limit")
    created_at: datetime
    updated_at: datetime
    version: int = strawberry.field(description="The number of the last fact of this event that this answer includes")

    @strawberry.field(description="Minutes")  # type: ignore[untyped-decorator]
    def duration(self) -> int:
        return min(int((self.row.ends_at - self.row.starts_at).total_seconds() // 60), MINUTES_LIMIT)

    @strawberry.field
    def location(self) -> Location | None:
        return Location.of(self.row.location) if self.row.location else None

    @strawberry.field
    def hall(self) -> Hall | None:
        halls = self.row.location.halls if self.row.location else ()
        return next((Hall.of(hall) for hall in halls if hall.hall_id == self.row.hall_id), None)

    @strawberry.field(metadata=at_most(TICKET_TYPES_LIMIT))  # type: ignore[untyped-decorator]
    def ticket_types(self) -> list[TicketType]:
        return [ticket_type(self.row, kind) for kind in self.row.ticket_types]

    @classmethod
    def of(cls, row: rows.EventRow) -> Event:
        """The event as read."""
        return cls(
            id=strawberry.ID(row.id),
            row=row,
            name=row.name,
            description=row.description,
            url=row.url,
            topics=list(row.topics),
            status=EventStatus(row.status),
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            time_zone=row.time_zone,
            online=row.online,
            capacity=row.capacity,
            seats_booked=row.seats_booked,
            seats_available=row.seats_available,
            seats_per_person=row.seats_per_person,
            created_at=row.created_at,
            updated_at=row.updated_at,
            version=row.version,
        )


def ticket_type(event: rows.EventRow, kind: rows.TicketTypeRow) -> TicketType:
    """The ticket type as read: it has no more seats left than its event."""
    return TicketType(
        id=strawberry.ID(kind.ticket_type_id),
        name=kind.name,
        price=Money.of(kind.price),
        capacity=kind.capacity,
        seats_available=min(kind.capacity - kind.seats_booked, event.seats_available),
        sales_start_at=kind.sales_start_at,
        sales_end_at=kind.sales_end_at,
    )


@strawberry.type
class BookingLine:
    ticket_type: TicketType
    seats: int


@strawberry.type
class Booking(Node):
    row: strawberry.Private[rows.BookingRow]
    event: Event
    status: BookingStatus
    seats: int
    created_at: datetime
    updated_at: datetime

    @strawberry.field(metadata=at_most(LINES_LIMIT))  # type: ignore[untyped-decorator]
    def lines(self) -> list[BookingLine]:
        kinds = {kind.ticket_type_id: kind for kind in self.event.row.ticket_types}
        return [
            BookingLine(ticket_type=ticket_type(self.event.row, kinds[line.ticket_type_id]), seats=line.seats)
            for line in self.row.lines
            if line.ticket_type_id in kinds
        ]

    @classmethod
    def of(cls, row: rows.BookingRow, event: rows.EventRow) -> Booking:
        """The booking as read, with its event."""
        return cls(
            id=strawberry.ID(row.id),
            row=row,
            event=Event.of(event),
            status=BookingStatus(row.status),
            seats=row.seats,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@strawberry.type
class ReadModelStatus:
    name: str
    version: int
    state: str = strawberry.field(description="building, live or old")
    applied: int
    head: int
    lag_seconds: float = strawberry.field(description="Since it last had all facts, as far as is known; 0 while it has")
    parked_streams: int

    @classmethod
    def of(cls, status: ModelStatus) -> ReadModelStatus:
        """As the read models' registry has it."""
        return cls(
            name=status.name,
            version=status.version,
            state=status.state,
            applied=status.applied,
            head=status.head,
            lag_seconds=status.lag_seconds,
            parked_streams=status.parked_streams,
        )


@strawberry.type
class EventEdge:
    cursor: str
    node: Event


@strawberry.type
class LocationEdge:
    cursor: str
    node: Location


@strawberry.type
class BookingEdge:
    cursor: str
    node: Booking


async def _count(info: Info, listing: Listing) -> int:
    return await info.context.reads.count(listing)


@strawberry.type
class EventConnection:
    listing: strawberry.Private[Listing]
    edges: list[EventEdge]
    nodes: list[Event]
    page_info: PageInfo

    @classmethod
    async def listed(
        cls,
        info: Info,
        window: Window,
        where: i.EventWhere | None,
        order_by: i.EventOrder | None,
        *,
        location_id: str | None = None,
    ) -> EventConnection:
        """A page of the events that the filter lets by, only of those at a location where one is given."""
        await info.context.position.reached("events")
        order = order_by or i.EventOrder()
        wanted = (where or i.EventWhere()).filter()
        if location_id is not None:
            elsewhere = wanted.location_id not in (None, location_id)
            wanted = replace(wanted, location_id=location_id, ids=[] if elsewhere else wanted.ids)
        listing = Listing(
            table=read_tables.events,
            conditions=filters.event_conditions(wanted),
            column=filters.EVENT_ORDERS[order.field.value],
            descending=order.direction is i.Direction.DESC,
            scope=scope_of("events", wanted, order.field.value, order.direction.value),
            halls=halls_asked_for(info),
        )
        page = await info.context.reads.page(listing, rows.EventRow, window)
        served = servable(info, page, "Event", Event.of)
        return cls(
            listing=listing,
            edges=[EventEdge(cursor=cursor, node=node) for cursor, node in served],
            nodes=[node for _, node in served],
            page_info=page_info(page),
        )

    @strawberry.field
    async def total_count(self, info: Info) -> int | None:
        return await _count(info, self.listing)


@strawberry.type
class LocationConnection:
    listing: strawberry.Private[Listing]
    edges: list[LocationEdge]
    nodes: list[Location]
    page_info: PageInfo

    @strawberry.field
    async def total_count(self, info: Info) -> int | None:
        return await _count(info, self.listing)


@strawberry.type
class BookingConnection:
    listing: strawberry.Private[Listing]
    edges: list[BookingEdge]
    nodes: list[Booking]
    page_info: PageInfo

    @strawberry.field
    async def total_count(self, info: Info) -> int | None:
        return await _count(info, self.listing)


def page_info(page: Page[Any]) -> PageInfo:
    """Where a page stands in its list."""
    return PageInfo(
        has_next_page=page.has_next,
        has_previous_page=page.has_previous,
        start_cursor=page.start,
        end_cursor=page.end,
    )


def servable(
    info: Info, page: Page[AnyRow], kind: str, make: Callable[[AnyRow], Served | None]
) -> list[tuple[str, Served]]:
    """Return the cursor and the object of each row of a page that can be served; the others are counted."""
    found = ((cursor, made_of(info, kind, row, make)) for cursor, row in zip(page.cursors, page.rows, strict=True))
    return [(cursor, made) for cursor, made in found if made is not None]


def made_of(info: Info, kind: str, row: AnyRow, make: Callable[[AnyRow], Served | None]) -> Served | None:
    """Return what `make` makes of a row; None, and count it, where the row's values do not allow that."""
    return info.context.reads.left_out.make(kind, lambda: getattr(row, "id", None), lambda: make(row))
