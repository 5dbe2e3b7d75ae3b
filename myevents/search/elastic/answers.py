"""What Elasticsearch answers, as far as it is read."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from schema.read_models import EventRow, LocationRow


class EventSource(Struct):
    """What an event's document keeps."""

    row: EventRow


class LocationSource(Struct):
    """What a location's document keeps."""

    row: LocationRow


class Found(Struct, rename={"score": "_score", "source": "_source"}):
    """A hit; `sort` is what it was ordered by."""

    source: EventSource
    score: float | None = None
    sort: list[Any] = []


class Total(Struct):
    """How many there are, as far as they were counted."""

    value: int


class Hits(Struct):
    """Some hits and how many there are."""

    hits: list[Found] = []
    total: Total = field(default_factory=lambda: Total(0))


class Bucket(Struct):
    """A value, how many have it, and, where they were asked for, some of those."""

    key: str
    doc_count: int
    newest: NewestHits | None = None


class NewestHits(Struct):
    """The newest of a bucket."""

    hits: Hits


class Buckets(Struct):
    """The values of a field."""

    buckets: list[Bucket]


class Page(Struct):
    """The answer to a search; `pit_id` is that of the state it was answered from."""

    hits: Hits = field(default_factory=Hits)
    aggregations: dict[str, Buckets] = {}
    pit_id: str = ""
