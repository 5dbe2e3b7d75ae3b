"""Finds events in one state of the index: pages, facets, suggestions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import tantivy
from tantivy import DocAddress, Occur, Query

from myevents.search.embedded.documents import FACETS, id_numbers
from myevents.search.embedded.queries import asking, begins, filtering, naming
from myevents.search.port import COUNTED, FacetCount, FacetField, Hit, SearchPage, SearchQuery, SortKey
from myevents.search.words import asked
from schema.event_filter import EventFilter
from schema.folding import fold
from schema.geography import distance_km
from schema.read_models import EventRow

_VALUES: Final = 10_000
"""Values of a facet that are looked at."""

_Place = tuple[float, int, int, int]
"""What hits are sorted by: relevance, start or distance; start; the id's two numbers."""


class Finder:
    """Finds in what `searcher` sees, which does not change."""

    def __init__(self, schema: tantivy.Schema, searcher: tantivy.Searcher) -> None:
        self._schema = schema
        self._searcher = searcher
        self._all = max(1, searcher.num_docs)

    def page(self, query: SearchQuery) -> SearchPage:
        """The page of events found."""
        forgiving, found = self._found(query)
        hits = sorted(zip(self._places(query, found), found, strict=True), key=lambda hit: hit[0])
        total = len(hits)
        if query.after is not None:
            start = _place_of(query.after)
            hits = [hit for hit in hits if hit[0] > start]
        chosen = [self._hit(forgiving, place, *found) for place, found in hits[: query.first]]
        return SearchPage(
            hits=tuple(chosen), has_next=len(hits) > query.first, total=min(total, COUNTED), forgiving=forgiving
        )

    def facets(
        self, query: SearchQuery, fields: Sequence[FacetField], first: int
    ) -> dict[FacetField, list[FacetCount]]:
        """The most frequent values among the events found."""
        forgiving, found = self._found(query)
        tried = asking(self._schema, asked(query.text), self._filtered(query.where), forgiving=forgiving)
        if query.where.near is not None:
            # The box of the query is wider than the circle.
            ids = [self._row(address).id for _, address in found]
            tried = Query.boolean_query([(Occur.Must, Query.term_set_query(self._schema, "id", ids))])
        wanted = {field: {"terms": {"field": FACETS[field], "size": _VALUES}} for field in fields}
        counted: dict[str, Any] = self._searcher.aggregate(tried, wanted) if wanted else {}
        return {field: _most(counted[field]["buckets"], first) for field in fields}

    def suggested(self, prefix: str, first: int) -> list[EventRow]:
        """Events in whose names words begin as typed."""
        wanted = asked(prefix)
        if not wanted.words:
            return []
        named = naming(self._schema, wanted)
        foremost = Query.boolean_query(
            [(Occur.Must, named), (Occur.Must, begins(self._schema, "name_words", " ".join(wanted.words)))]
        )
        names = dict.fromkeys([*self._names(foremost, first), *self._names(named, 2 * first)])
        return [self._newest(name) for name in list(names)[:first]]

    def every(self) -> list[DocAddress]:
        """Where every event is, in order of their ids."""
        query = Query.term_query(self._schema, "kind", "event")
        addresses = [address for _, address in self._searcher.search(query, limit=self._all, count=False).hits]
        places = zip(self._numbers("id_high", addresses), self._numbers("id_low", addresses), addresses, strict=True)
        return [address for _, _, address in sorted(places, key=lambda place: place[:2])]

    def rows(self, addresses: Sequence[DocAddress]) -> list[EventRow]:
        """The events at those places."""
        return [self._row(address) for address in addresses]

    def _found(self, query: SearchQuery) -> tuple[bool, list[tuple[float, DocAddress]]]:
        """What has the words as typed; where nothing has, what has words near them."""
        wanted = asked(query.text)
        tries = [query.after[0]] if query.after is not None else [False] if wanted.empty else [False, True]
        filtered = self._filtered(query.where)
        for forgiving in tries:
            tried = asking(self._schema, wanted, filtered, forgiving=forgiving)
            found = self._searcher.search(tried, limit=self._all, count=False).hits
            if query.where.near is not None:
                distances = self._distances(query, found)
                radius = query.where.near.radius_km
                found = [hit for hit, distance in zip(found, distances, strict=True) if distance <= radius]
            if found:
                return forgiving, found
        return False, []

    def _filtered(self, where: EventFilter) -> Query:
        names = None
        if where.name is not None:
            # A pattern could have too many states for the engine; the names are few, and each is looked at once.
            piece = fold(where.name)
            names = [name for name, _ in self._searcher.terms_with_prefix("name_folded", "") if piece in name]
        return filtering(self._schema, where, names)

    def _places(self, query: SearchQuery, found: list[tuple[float, DocAddress]]) -> list[_Place]:
        addresses = [address for _, address in found]
        starts, highs, lows = (self._numbers(name, addresses) for name in ("starts_at", "id_high", "id_low"))
        match query.order:
            case "RELEVANCE":
                keys = [-float(score) for score, _ in found]
            case "STARTS_AT":
                keys = [0.0] * len(found)
            case "DISTANCE":
                keys = [round(distance, 3) for distance in self._distances(query, found)]
        return list(zip(keys, starts, highs, lows, strict=True))

    def _distances(self, query: SearchQuery, found: list[tuple[float, DocAddress]]) -> list[float]:
        near = query.where.near
        assert near is not None, "a distance is from somewhere: callers check it"
        addresses = [address for _, address in found]
        latitudes, longitudes = (
            self._searcher.fast_field_values(name, addresses) for name in ("latitude", "longitude")
        )
        return [
            distance_km(near.latitude, near.longitude, float(latitude or 0), float(longitude or 0))
            for latitude, longitude in zip(latitudes, longitudes, strict=True)
        ]

    def _numbers(self, field: str, addresses: list[DocAddress]) -> list[int]:
        return [int(value or 0) for value in self._searcher.fast_field_values(field, addresses)]

    def _hit(self, forgiving: bool, place: _Place, score: float, address: DocAddress) -> Hit:
        row = self._row(address)
        return Hit(event=row, score=float(score), sort=(forgiving, place[0], place[1], row.id))

    def _row(self, address: DocAddress) -> EventRow:
        row = self._searcher.doc(address).get_first("row")
        return msgspec.json.decode(bytes(row or b""), type=EventRow)

    def _names(self, query: Query, first: int) -> list[str]:
        wanted = {"names": {"terms": {"field": "name_words", "size": first, "order": {"_key": "asc"}}}}
        return [bucket["key"] for bucket in self._searcher.aggregate(query, wanted)["names"]["buckets"]]

    def _newest(self, name: str) -> EventRow:
        named = Query.boolean_query(
            [
                (Occur.Must, Query.term_query(self._schema, "name_words", name)),
                (Occur.Must, Query.term_query(self._schema, "status", "PUBLISHED")),
            ]
        )
        found = self._searcher.search(named, limit=self._all, count=False).hits
        rows = [self._row(address) for _, address in found]
        return max(rows, key=lambda row: (row.starts_at, row.id))


def _most(buckets: list[dict[str, Any]], first: int) -> list[FacetCount]:
    counts = [FacetCount(value=bucket["key"], count=bucket["doc_count"]) for bucket in buckets]
    return sorted(counts, key=lambda count: (-count.count, count.value))[:first]


def _place_of(sort: SortKey) -> _Place:
    _, key, starts, event_id = sort
    return (key, starts, *id_numbers(event_id))
