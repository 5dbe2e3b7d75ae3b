"""What a search index does, whatever its engine: one consumer of the log writes it, queries read it.

Scores are sums of constants (`weights`), never of statistics, so that every engine ranks alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Final, Literal, Protocol

from msgspec import Struct

from myevents.errors import MyEventsError
from schema.event_filter import EventFilter
from schema.read_models import EventRow, LocationRow

FacetField = Literal["TOPIC", "COUNTRY", "CITY", "MONTH"]
SearchOrder = Literal["RELEVANCE", "STARTS_AT", "DISTANCE"]
SortKey = tuple[bool, float, int, str]
"""Where a hit stands: whether typing errors were forgiven, then what it is ordered by, its start (Unix µs), its id."""

COUNTED: Final = 10_000
"""How far the hits of a search are counted."""


class SearchUnavailable(MyEventsError):
    """The index cannot be read or written now; the message says what to do."""

    retry_after: Final = 1.0
    """Seconds after which to try again."""


class SearchQuery(Struct, frozen=True, kw_only=True):
    """What is searched for; `after` is the `sort` of the last hit of the page before. Empty text finds everything."""

    text: str
    where: EventFilter = EventFilter()
    order: SearchOrder = "RELEVANCE"
    first: int = 20
    after: SortKey | None = None


class Hit(Struct, frozen=True, kw_only=True):
    """One event found, as the index has it."""

    event: EventRow
    score: float
    sort: SortKey


class SearchPage(Struct, frozen=True, kw_only=True):
    """Some hits in order; `total` counts all, up to `COUNTED`; `forgiving` where only misspelt words were found."""

    hits: tuple[Hit, ...]
    has_next: bool
    total: int
    forgiving: bool


class FacetCount(Struct, frozen=True, kw_only=True):
    """How many of the events found have `value`."""

    value: str
    count: int


class SearchIndex(Protocol):
    """Readers see what is written once `write` has returned; in another process soon, or once they `refresh`."""

    async def checkpoints(self) -> dict[int, int]:
        """The seq of each partition that the index has taken in."""

    async def events(self, ids: Collection[str]) -> dict[str, EventRow]:
        """Those events that are in the index."""

    async def events_at(self, location_ids: Collection[str]) -> list[EventRow]:
        """All events at those locations, by `location_id`."""

    async def locations(self, ids: Collection[str]) -> dict[str, LocationRow]:
        """Those locations that the index keeps, to place events in them."""

    def in_order(self) -> AsyncGenerator[list[EventRow], None]:
        """Every event by id, in batches, as of one moment: to compare with."""

    async def hold(self) -> None:
        """Become the only process that writes; raises `SearchUnavailable` where another one does."""

    async def write(
        self,
        events: Sequence[EventRow],
        locations: Sequence[LocationRow],
        checkpoints: Mapping[int, int],
        *,
        since: Mapping[int, int] | None = None,
    ) -> None:
        """Put these in, replacing those of the same id, then move the checkpoints.

        Where it fails, the checkpoints have not moved, though some rows may be in: the same facts are taken in again.
        Raises `SearchUnavailable` where the checkpoints are not those of `since`, from which the rows were folded, or
        where another process moves them meanwhile. An engine without transactions keeps a row that has later facts.
        """

    async def refresh(self) -> None:
        """See what another process has written."""

    async def search(self, query: SearchQuery) -> SearchPage:
        """The page of events found. Where no event has all words as typed, near words are taken for them."""

    async def facets(
        self, query: SearchQuery, fields: Sequence[FacetField], first: int
    ) -> dict[FacetField, list[FacetCount]]:
        """Of all events found, the most frequent values of each field (ties by value); MONTH as `2026-11`, UTC."""

    async def did_you_mean(self, text: str) -> str | None:
        """`text` with each word that no event has in its nearest spelling; None where there is nothing to better."""

    async def suggest(self, prefix: str, first: int) -> list[EventRow]:
        """Published events in whose names words begin as typed: each name once, with its newest event.

        Names that begin with `prefix` come first, then by name.
        """

    async def close(self) -> None:
        """Let go of files and threads."""


class SearchBuilds(Protocol):
    """The builds of the index, of which one serves; another may be filled beside it.

    Whoever writes rests `rest` times as long as it worked, so that those who book keep the processor.
    """

    rest: float

    async def live(self) -> SearchIndex:
        """The index that serves; the first one is made where there is none."""

    async def open(self, build: int) -> SearchIndex:
        """The index of a build, made where there is none."""

    async def serving(self) -> int:
        """The number of the build that serves."""

    async def existing(self) -> list[int]:
        """The numbers of the finished builds."""

    async def begin(self) -> int:
        """The number of the build that was begun and never served, or of a new one."""

    async def serve(self, build: int) -> None:
        """Let `build` serve from now on, in every process."""

    async def drop(self, build: int) -> None:
        """Delete a build that does not serve."""

    async def close(self) -> None:
        """Close what is open."""
