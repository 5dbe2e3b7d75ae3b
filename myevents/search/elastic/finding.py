"""Finds events: pages, facets, suggestions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from myevents.search.elastic.answers import Buckets, Found, Page
from myevents.search.elastic.cluster import Cluster
from myevents.search.elastic.documents import FACETS
from myevents.search.elastic.queries import Query, asking, begins, naming
from myevents.search.port import COUNTED, FacetCount, FacetField, Hit, SearchPage, SearchQuery, SortKey
from myevents.search.words import asked
from schema.event_filter import Circle
from schema.read_models import EventRow

_BY_START: Final[list[Query]] = [{"starts_at": "asc"}, {"id": "asc"}]


class Finder:
    """Finds in what `target`, an index or an alias, has now. Nothing is kept between two pages."""

    def __init__(self, cluster: Cluster, target: str) -> None:
        self._cluster = cluster
        self._target = target

    async def page(self, query: SearchQuery) -> SearchPage:
        """The page of events found."""
        wanted = {
            "size": query.first + 1,
            "sort": _ordered(query),
            "track_scores": True,
            "track_total_hits": COUNTED,
            **({} if query.after is None else {"search_after": _place_of(query, query.after)}),
        }
        forgiving, page = await self._tried(query, wanted)
        hits = [_hit(query, forgiving, found) for found in page.hits.hits[: query.first]]
        return SearchPage(
            hits=tuple(hits),
            has_next=len(page.hits.hits) > query.first,
            total=min(page.hits.total.value, COUNTED),
            forgiving=forgiving,
        )

    async def facets(
        self, query: SearchQuery, fields: Sequence[FacetField], first: int
    ) -> dict[FacetField, list[FacetCount]]:
        """The most frequent values among the events found."""
        # Exact, for all of an index is in one shard; ties go by value.
        wanted = {field: {"terms": {"field": FACETS[field], "size": first}} for field in fields}
        _, page = await self._tried(query, {"size": 0, "track_total_hits": 1, "aggs": wanted})
        return {
            field: [FacetCount(value=found.key, count=found.doc_count) for found in page.aggregations[field].buckets]
            for field in fields
        }

    async def suggested(self, prefix: str, first: int) -> list[EventRow]:
        """Events in whose names words begin as typed."""
        wanted = asked(prefix)
        if not wanted.words:
            return []
        named = naming(wanted)
        foremost = {"bool": {"filter": [named, begins("name_words", " ".join(wanted.words))]}}
        names: dict[str, EventRow] = {}
        for query, size in ((foremost, first), (named, 2 * first)):
            answer = await self._ask({"query": query, "size": 0, "aggs": {"names": _names(size)}})
            for name, row in _newest(answer.aggregations["names"]):
                names.setdefault(name, row)
            if len(names) >= first:
                break
        return list(names.values())[:first]

    async def _tried(self, query: SearchQuery, wanted: dict[str, Any]) -> tuple[bool, Page]:
        """What has the words as typed; where nothing has, what has words near them."""
        words = asked(query.text)
        tries = [query.after[0]] if query.after is not None else [False] if words.empty else [False, True]
        page = Page()
        for forgiving in tries:
            page = await self._ask({**wanted, "query": asking(words, query.where, forgiving=forgiving)})
            if page.hits.total.value:
                return forgiving, page
        return False, page

    async def _ask(self, body: dict[str, Any]) -> Page:
        return await self._cluster.ask(
            lambda client: client.search(index=self._target, body=body, allow_partial_search_results=False), Page
        )


def _ordered(query: SearchQuery) -> list[Query]:
    match query.order:
        case "RELEVANCE":
            return [{"_score": "desc"}, *_BY_START]
        case "STARTS_AT":
            return _BY_START
        case "DISTANCE":
            near = _near(query)
            point = {"lat": near.latitude, "lon": near.longitude}
            return [{"_geo_distance": {"point": point, "unit": "km", "order": "asc"}}, *_BY_START]


def _place_of(query: SearchQuery, sort: SortKey) -> list[float | str]:
    """What comes after this place, in the terms of `_ordered`."""
    _, key, starts, event_id = sort
    match query.order:
        case "RELEVANCE":
            return [-key, starts, event_id]
        case "STARTS_AT":
            return [starts, event_id]
        case "DISTANCE":
            return [key, starts, event_id]


def _hit(query: SearchQuery, forgiving: bool, found: Found) -> Hit:
    *first, starts, event_id = found.sort
    match query.order:
        case "RELEVANCE":
            key = -float(first[0])
        case "STARTS_AT":
            key = 0.0
        case "DISTANCE":
            key = float(first[0])
    return Hit(event=found.source.row, score=found.score or 0.0, sort=(forgiving, key, starts, event_id))


def _near(query: SearchQuery) -> Circle:
    assert query.where.near is not None, "a distance is from somewhere: callers check it"
    return query.where.near


def _names(size: int) -> Query:
    newest = {"size": 1, "sort": [{"starts_at": "desc"}, {"id": "desc"}]}
    return {
        "terms": {"field": "name_words", "size": size, "order": {"_key": "asc"}},
        "aggs": {"newest": {"top_hits": newest}},
    }


def _newest(names: Buckets) -> list[tuple[str, EventRow]]:
    return [(name.key, name.newest.hits.hits[0].source.row) for name in names.buckets if name.newest is not None]
