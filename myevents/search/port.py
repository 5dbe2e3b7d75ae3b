"""What a search index does, whatever its engine: it is written by one consumer of the log and read by queries.

The index keeps, beside each document, what it was made from, so that it needs no other read model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

FacetField = Literal["TOPIC", "COUNTRY", "CITY", "MONTH"]
SearchOrder = Literal["RELEVANCE", "STARTS_AT", "DISTANCE"]


class Place(Struct, frozen=True, kw_only=True):
    """A location as the index knows it."""

    id: str
    name: str
    city: str | None = None
    country: str
    latitude: float | None = None
    longitude: float | None = None


class EventDocument(Struct, frozen=True, kw_only=True):
    """An event as the index knows it; `version` is that of its last fact in it."""

    id: str
    version: int
    name: str
    description: str | None = None
    topics: tuple[str, ...] = ()
    status: str
    starts_at: datetime
    ends_at: datetime
    online: bool = False
    seats_available: int
    capacity: int
    organizer_id: str | None = None
    place: Place | None = None
    location_id: str | None = None
    """Set from the event's own facts, so also while the place itself is not known yet."""


class Circle(Struct, frozen=True, kw_only=True):
    """All within `radius_km` of a point in degrees."""

    latitude: float
    longitude: float
    radius_km: float


class SearchFilter(Struct, frozen=True, kw_only=True):
    """Which events may be found; an empty tuple or None filters nothing. Texts compare folded."""

    ids: tuple[str, ...] = ()
    name: str | None = None
    status: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    city: tuple[str, ...] = ()
    location_id: str | None = None
    organizer_id: str | None = None
    online: bool | None = None
    starts_from: datetime | None = None
    starts_until: datetime | None = None
    near: Circle | None = None
    seats_available_at_least: int | None = None


class SearchQuery(Struct, frozen=True, kw_only=True):
    """All words must match; typing errors are forgiven; the last word matches as a prefix.

    `after` is the `sort` of the last hit of the page before. An empty `text` finds everything the filter lets by.
    """

    text: str
    where: SearchFilter = SearchFilter()
    order: SearchOrder = "RELEVANCE"
    first: int = 20
    after: tuple[float | str, ...] | None = None


class Hit(Struct, frozen=True, kw_only=True):
    """One event found. `sort` places it among the others (its last value is the id); highlights are safe HTML."""

    id: str
    score: float
    highlights: tuple[str, ...]
    sort: tuple[float | str, ...]


class SearchPage(Struct, frozen=True, kw_only=True):
    """Some hits in order; `total` counts all, up to 10,000."""

    hits: tuple[Hit, ...]
    has_next: bool
    total: int


class FacetCount(Struct, frozen=True, kw_only=True):
    """How many found events have `value`."""

    value: str
    count: int


class SuggestedEvent(Struct, frozen=True, kw_only=True):
    """A completion of what somebody types, and the event that has it in its name."""

    text: str
    event_id: str


class SearchIndex(Protocol):
    """Written by one consumer, read by many; what is written is seen once `write` returns."""

    async def checkpoints(self) -> dict[int, int]:
        """The seq of each partition that the index has taken in, as last written."""

    async def events(self, ids: Collection[str]) -> dict[str, EventDocument]:
        """The documents of those events that are in the index."""

    async def events_at(self, location_ids: Collection[str]) -> list[EventDocument]:
        """All documents with one of those `location_id`s."""

    async def places(self, ids: Collection[str]) -> dict[str, Place]:
        """The places of those locations that are in the index."""

    async def all_events(self) -> dict[str, EventDocument]:
        """Every document, to compare with."""

    async def write(
        self, events: Sequence[EventDocument], places: Sequence[Place], checkpoints: Mapping[int, int]
    ) -> None:
        """Put documents in (replacing those of the same id) and move the checkpoints; all, or none of it."""

    async def search(self, query: SearchQuery) -> SearchPage:
        """The page of events found."""

    async def facets(
        self, query: SearchQuery, fields: Sequence[FacetField], first: int
    ) -> dict[FacetField, list[FacetCount]]:
        """Of all events found, the most frequent values of each field (ties: by value); MONTH as `2026-11`."""

    async def did_you_mean(self, text: str) -> str | None:
        """A better spelling of `text` by the words in the index; None where every word is known."""

    async def suggest(self, prefix: str, first: int) -> list[SuggestedEvent]:
        """Published events with a name in which words begin as typed, soonest first."""

    async def close(self) -> None:
        """Let go of files and threads."""
