"""One index of tantivy: written by one process, read by any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import tantivy

from myevents.search.embedded import documents
from myevents.search.embedded.finding import Finder
from myevents.search.embedded.spelling import Spelling
from myevents.search.port import FacetCount, FacetField, SearchPage, SearchQuery, SearchUnavailable
from schema.read_models import EventRow, LocationRow

DEADLINE: Final = 2.0
"""Seconds a read may take."""

AGE: Final = 0.2
"""Seconds after which a reader looks at what another process has written."""

_MEMORY: Final = 32_000_000
"""Bytes that the writer collects before it writes a segment."""

_THREADS: Final = 2
_BATCH: Final = 1000
_Result = TypeVar("_Result")
_Row = TypeVar("_Row", EventRow, LocationRow)


class EmbeddedIndex:
    """The index in a directory of its own. Its writer's lock ends with the process that held it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._schema = documents.make_schema()
        try:
            self._index = tantivy.Index(self._schema, path=str(directory))
        except ValueError as error:
            raise SearchUnavailable(f"The index in {directory} cannot be read ({error}): delete it.") from error
        words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer(documents.WORDS, words)
        self._index.config_reader("manual")
        self._seen = time.monotonic()
        self._writer: tantivy.IndexWriter | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="search")
        # One thread writes: a write whose caller was cancelled ends before the next one begins.
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="search-writer")
        self._spelling: Spelling | None = None

    async def checkpoints(self) -> dict[int, int]:
        """The seq of each partition that the index has taken in, what is under way from here included."""
        if self._writer is not None:
            return await asyncio.get_running_loop().run_in_executor(self._writing, self._checkpoints)
        return await self._read(self._checkpoints)

    async def events(self, ids: Collection[str]) -> dict[str, EventRow]:
        """Those events that are in the index."""
        return {row.id: row for row in await self._read(lambda: self._by("id", ids, EventRow))}

    async def events_at(self, location_ids: Collection[str]) -> list[EventRow]:
        """All events at those locations."""
        return await self._read(lambda: self._by("location_id", location_ids, EventRow))

    async def locations(self, ids: Collection[str]) -> dict[str, LocationRow]:
        """Those locations that the index keeps."""
        return {row.id: row for row in await self._read(lambda: self._by("id", ids, LocationRow))}

    async def in_order(self) -> AsyncGenerator[list[EventRow], None]:
        """Every event by id, in batches, as of one moment."""
        finder = await self._read(self._finder)
        addresses = await self._read(finder.every, None)
        for start in range(0, len(addresses), _BATCH):
            some = addresses[start : start + _BATCH]
            yield await self._read(lambda some=some: finder.rows(some), None)  # type: ignore[misc]

    async def hold(self) -> None:
        """Take the writer's lock; raises `SearchUnavailable` where another process has it."""
        await asyncio.get_running_loop().run_in_executor(self._writing, self._held)

    async def write(
        self,
        events: Sequence[EventRow],
        locations: Sequence[LocationRow],
        checkpoints: Mapping[int, int],
        *,
        since: Mapping[int, int] | None = None,
    ) -> None:
        """Put these in and move the checkpoints, in one commit."""
        work = partial(self._write, events, locations, checkpoints, since)
        await asyncio.get_running_loop().run_in_executor(self._writing, work)

    async def refresh(self) -> None:
        """See what another process has written."""
        await self._read(self._reload)

    async def search(self, query: SearchQuery) -> SearchPage:
        """The page of events found."""
        return await self._read(lambda: self._finder().page(query))

    async def facets(
        self, query: SearchQuery, fields: Sequence[FacetField], first: int
    ) -> dict[FacetField, list[FacetCount]]:
        """The most frequent values of each field among the events found."""
        return await self._read(lambda: self._finder().facets(query, fields, first))

    async def did_you_mean(self, text: str) -> str | None:
        """A nearer spelling, where there is one."""
        return await self._read(lambda: self._spelled().better(text))

    async def suggest(self, prefix: str, first: int) -> list[EventRow]:
        """Events in whose names words begin as typed."""
        return await self._read(lambda: self._finder().suggested(prefix, first))

    async def close(self) -> None:
        """Let go of the writer's lock and of the threads."""
        self._threads.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.wait_merging_threads()

    def _finder(self) -> Finder:
        return Finder(self._schema, self._searcher())

    def _searcher(self) -> tantivy.Searcher:
        if self._writer is None and time.monotonic() - self._seen > AGE:
            self._reload()
        return self._index.searcher()

    async def _read(self, work: Callable[[], _Result], deadline: float | None = DEADLINE) -> _Result:
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise SearchUnavailable("The search took too long: ask for less, or try again.") from error

    def _by(self, field: str, values: Collection[str], kind: type[_Row]) -> list[_Row]:
        if not values:
            return []
        searcher = self._searcher()
        query = tantivy.Query.term_set_query(self._schema, field, list(values))
        found = searcher.search(query, limit=max(1, searcher.num_docs), count=False)
        rows = (searcher.doc(address).get_first("row") for _, address in found.hits)
        return [msgspec.json.decode(bytes(row), type=kind) for row in rows if row is not None]

    def _checkpoints(self) -> dict[int, int]:
        searcher = self._searcher()
        query = tantivy.Query.term_query(self._schema, "id", documents.CHECKPOINTS)
        hits = searcher.search(query, limit=1).hits
        if not hits:
            return {}
        row = searcher.doc(hits[0][1]).get_first("row")
        return msgspec.json.decode(bytes(row or b"{}"), type=dict[int, int])

    def _write(
        self,
        events: Sequence[EventRow],
        locations: Sequence[LocationRow],
        checkpoints: Mapping[int, int],
        since: Mapping[int, int] | None,
    ) -> None:
        writer = self._held()
        held = self._checkpoints()
        if since is not None and held != since:
            raise SearchUnavailable("Another process has written this index meanwhile.")
        moved = held | dict(checkpoints)
        try:
            for row in events:
                self._put(writer, row.id, documents.event_document(row))
            for place in locations:
                self._put(writer, place.id, documents.location_document(place))
            self._put(writer, documents.CHECKPOINTS, documents.checkpoints_document(moved))
            writer.commit()
        except BaseException:
            writer.rollback()
            raise
        self._reload()

    def _reload(self) -> None:
        self._index.reload()
        self._seen = time.monotonic()
        self._spelling = None

    def _spelled(self) -> Spelling:
        self._spelling = self._spelling or Spelling(self._schema, self._searcher())
        return self._spelling

    def _held(self) -> tantivy.IndexWriter:
        if self._writer is None:
            try:
                self._writer = self._index.writer(_MEMORY, 1)
            except ValueError as error:
                raise SearchUnavailable(f"Another process writes this index ({error}).") from error
            # What that process wrote until it ended is what to go on from.
            self._reload()
        return self._writer

    @staticmethod
    def _put(writer: tantivy.IndexWriter, key: str, document: tantivy.Document) -> None:
        writer.delete_documents_by_term("id", key)
        writer.add_document(document)
