"""Searching: hits, facets, better spellings, suggestions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final, TypeVar

import msgspec
import strawberry
from msgspec import Struct

from myevents.errors import ErrorCode, Refused
from myevents.graphql_limits import at_most
from myevents.search import port
from myevents.search.weights import FIELDS
from myevents.search.words import asked
from query.graphql import inputs as i
from query.graphql import types as t
from query.graphql.highlighting import highlight_page
from query.graphql.types import Info
from query.paging import MOST, Window, scope_of
from schema.read_models import EventRow

Answer = TypeVar("Answer")
_LONGEST: Final = 200
_SUGGESTED: Final = 10
_BUCKETS: Final = 10


@strawberry.enum
class SearchOrder(Enum):
    RELEVANCE = "RELEVANCE"
    STARTS_AT = "STARTS_AT"
    DISTANCE = "DISTANCE"


@strawberry.enum
class FacetField(Enum):
    TOPIC = "TOPIC"
    COUNTRY = "COUNTRY"
    CITY = "CITY"
    MONTH = "MONTH"


class Searched(Struct, frozen=True, kw_only=True):
    """A search and its page, for what is asked about it."""

    index: port.SearchIndex
    query: port.SearchQuery
    page: port.SearchPage


@strawberry.type(description="Full-text search: all words, typing errors forgiven, the last word as a prefix")
class SearchHit:
    hit: strawberry.Private[port.Hit]
    highlighted: strawberry.Private[list[str]]
    score: float
    event: t.Event

    @strawberry.field(  # type: ignore[untyped-decorator]
        description="Matching pieces with <em> marks, all else escaped. A request looks through 200,000 characters:"
        " texts beyond them, long descriptions first, have none",
        metadata=at_most(len(FIELDS)),
    )
    def highlights(self) -> list[str]:
        return self.highlighted


@strawberry.type
class SearchEdge:
    make_cursor: strawberry.Private[Callable[[], str]]
    node: SearchHit

    @strawberry.field
    def cursor(self) -> str:
        return self.make_cursor()


@strawberry.type
class FacetBucket:
    value: str
    count: int


@strawberry.type
class Facet:
    field: FacetField
    buckets: list[FacetBucket] = strawberry.field(metadata=at_most(MOST))


@strawberry.type
class SearchConnection:
    searched: strawberry.Private[Searched]
    edges: list[SearchEdge]
    nodes: list[SearchHit]
    page_info: t.PageInfo
    total_count: int | None

    @strawberry.field(metadata=at_most(len(FacetField)))  # type: ignore[untyped-decorator]
    async def facets(self, fields: list[FacetField], first: int | None = None) -> list[Facet]:
        size = Window(first=first).size if first is not None else _BUCKETS
        wanted: list[port.FacetField] = [field.value for field in dict.fromkeys(fields)]
        counted = await _answered(self.searched.index.facets(self.searched.query, wanted, size))
        return [
            Facet(
                field=FacetField(field),
                buckets=[FacetBucket(value=bucket.value, count=bucket.count) for bucket in counted[field]],
            )
            for field in wanted
        ]

    @strawberry.field(description="A better spelling, where there is one")  # type: ignore[untyped-decorator]
    async def did_you_mean(self) -> str | None:
        page = self.searched.page
        if page.hits and not page.forgiving:
            return None
        return await _answered(self.searched.index.did_you_mean(self.searched.query.text))


@strawberry.type
class Suggestion:
    text: str
    event: t.Event | None


@strawberry.type
class Searches:
    """What the search index answers."""

    @strawberry.field
    async def search_events(
        self,
        info: Info,
        search: str,
        first: int | None = None,
        after: str | None = None,
        where: i.EventWhere | None = None,
        order_by: SearchOrder | None = None,
    ) -> SearchConnection:
        text = _text(search, "search")
        wanted = (where or i.EventWhere()).filter()
        order = order_by or SearchOrder.RELEVANCE
        if order is SearchOrder.DISTANCE and wanted.near is None:
            message = "DISTANCE is from where.near: give one, or another order."
            raise Refused(ErrorCode.INVALID_INPUT, message, ("orderBy",))
        scope = scope_of("search", text, wanted, order.value)
        cursors = info.context.reads.cursors
        query = port.SearchQuery(
            text=text,
            where=wanted,
            order=order.value,
            first=Window(first=first).size,
            after=None if after is None else msgspec.convert(cursors.read(after, scope, "after"), port.SortKey),
        )
        index = await _index(info)
        page = await _answered(index.search(query))
        _charge(info, [hit.event for hit in page.hits])
        pieces = await highlight_page(page, asked(text), info.context.highlight_budget, info._raw_info)
        nodes = [
            SearchHit(hit=hit, highlighted=highlighted, score=hit.score, event=event)
            for hit, highlighted in zip(page.hits, pieces, strict=True)
            if (event := t.made_of(info, "Search", hit.event, t.Event.of)) is not None
        ]
        edges = [SearchEdge(make_cursor=partial(cursors.make, scope, node.hit.sort), node=node) for node in nodes]
        ends = [cursors.make(scope, page.hits[place].sort) if page.hits else None for place in (0, -1)]
        return SearchConnection(
            searched=Searched(index=index, query=query, page=page),
            edges=edges,
            nodes=nodes,
            page_info=t.PageInfo(
                has_next_page=page.has_next,
                has_previous_page=after is not None,
                start_cursor=ends[0],
                end_cursor=ends[1],
            ),
            total_count=page.total,
        )

    @strawberry.field
    async def suggest_events(self, info: Info, prefix: str, first: int | None = None) -> list[Suggestion]:
        text = _text(prefix, "prefix")
        size = Window(first=first).size if first is not None else _SUGGESTED
        index = await _index(info)
        rows = await _answered(index.suggest(text, size))
        _charge(info, rows)
        return [Suggestion(text=row.name, event=t.made_of(info, "Search", row, t.Event.of)) for row in rows]


def _charge(info: Info, rows: Sequence[EventRow]) -> None:
    """Count the bytes of rows of the index with those of the read models; raises `Refused` where they are too many."""
    for row in rows:
        halls = row.location.halls if row.location else ()
        names = sum(len(hall.name) + len(hall.location or "") for hall in halls)
        info.context.reads.charge(len((row.description or "").encode()) + names)


async def _index(info: Info) -> port.SearchIndex:
    """The index that serves, once it has come to the position that is asked for."""
    waited = await info.context.position.reached("search")
    index = await _answered(info.context.search.live())
    if waited:
        await _answered(index.refresh())
    return index


async def _answered(answer: Awaitable[Answer]) -> Answer:
    try:
        return await answer
    except port.SearchUnavailable as error:
        raise Refused(ErrorCode.OVERLOADED, str(error), retry_after=error.retry_after) from error


def _text(text: str, name: str) -> str:
    checked = i.checked_text(text, name)
    if len(checked) > _LONGEST:
        raise Refused(ErrorCode.INVALID_INPUT, f"It takes up to {_LONGEST} characters.", (name,))
    return checked
