"""One index in Elasticsearch, under an alias: written by one process at a time, read by any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing

from myevents.search.elastic.answers import EventSource, LocationSource
from myevents.search.elastic.bulk import Bulk
from myevents.search.elastic.cluster import Cluster, Nothing, Overtaken
from myevents.search.elastic.documents import CHECKPOINTS, puts
from myevents.search.elastic.finding import Finder
from myevents.search.elastic.rows import Checkpoints, Rows
from myevents.search.elastic.spelling import Spelling
from myevents.search.port import FacetCount, FacetField, SearchPage, SearchQuery
from schema.read_models import EventRow, LocationRow


class ElasticIndex:
    """The index behind `alias`; `made` sees that there is one. One being filled is refreshed only when it is read."""

    def __init__(
        self, cluster: Cluster, alias: str, *, made: Callable[[], Awaitable[None]], filling: bool = False
    ) -> None:
        self._cluster = cluster
        self._alias = alias
        self._made = made
        self._filling = filling
        # What a process that was killed wrote last may not show yet.
        self._hidden = True
        self._rows = Rows(cluster, alias)
        self._bulk = Bulk(cluster, alias)
        self._finder = Finder(cluster, alias)
        self._spelling = Spelling(cluster, alias)
        self._seen: Checkpoints | None = None
        self._writing = asyncio.Lock()
        self._writes: set[asyncio.Task[None]] = set()

    async def checkpoints(self) -> dict[int, int]:
        """The seq of each partition that the index has taken in, what is under way from here included."""
        async with self._writing:
            self._seen = await self._rows.checkpoints()
            return self._seen.seqs

    async def events(self, ids: Collection[str]) -> dict[str, EventRow]:
        """Those events that are in the index."""
        return {source.row.id: source.row for source in await self._rows.by_id(ids, EventSource)}

    async def events_at(self, location_ids: Collection[str]) -> list[EventRow]:
        """All events at those locations."""
        if not location_ids:
            return []
        await self.refresh()
        query = {"terms": {"location_id": list(location_ids)}}
        async with aclosing(self._rows.each(query)) as batches:
            return [row async for rows in batches for row in rows]

    async def locations(self, ids: Collection[str]) -> dict[str, LocationRow]:
        """Those locations that the index keeps."""
        return {source.row.id: source.row for source in await self._rows.by_id(ids, LocationSource)}

    async def in_order(self) -> AsyncGenerator[list[EventRow], None]:
        """Every event by id, in batches, as of one moment."""
        await self.refresh()
        async with aclosing(self._rows.each({"term": {"kind": "event"}})) as batches:
            async for rows in batches:
                yield rows

    async def hold(self) -> None:
        """See that there is an index; who else writes to it is told so when one of the two moves its checkpoints."""
        await self._made()

    async def write(
        self,
        events: Sequence[EventRow],
        locations: Sequence[LocationRow],
        checkpoints: Mapping[int, int],
        *,
        since: Mapping[int, int] | None = None,
    ) -> None:
        """Put these in, then move the checkpoints. What its caller gives up ends before the next one begins."""
        task = asyncio.create_task(self._write(events, locations, checkpoints, since))
        self._writes.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    async def refresh(self) -> None:
        """Show what was written; where people search, each write that came to its end has done so."""
        if self._hidden or self._filling:
            await self._refresh()

    async def search(self, query: SearchQuery) -> SearchPage:
        """The page of events found."""
        await self._shown()
        return await self._finder.page(query)

    async def facets(
        self, query: SearchQuery, fields: Sequence[FacetField], first: int
    ) -> dict[FacetField, list[FacetCount]]:
        """The most frequent values of each field among the events found."""
        await self._shown()
        return await self._finder.facets(query, fields, first)

    async def did_you_mean(self, text: str) -> str | None:
        """A nearer spelling, where there is one."""
        await self._shown()
        return await self._spelling.better(text)

    async def suggest(self, prefix: str, first: int) -> list[EventRow]:
        """Events in whose names words begin as typed."""
        await self._shown()
        return await self._finder.suggested(prefix, first)

    async def close(self) -> None:
        """Give up what is being written."""
        writes = list(self._writes)
        for task in writes:
            task.cancel()
        await asyncio.gather(*writes, return_exceptions=True)

    async def _shown(self) -> None:
        if self._filling:
            await self.refresh()

    async def _refresh(self) -> None:
        await self._cluster.ask(lambda client: client.indices.refresh(index=self._alias), Nothing, patient=True)
        self._hidden = False

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # Its caller may be gone.

    async def _write(
        self,
        events: Sequence[EventRow],
        locations: Sequence[LocationRow],
        checkpoints: Mapping[int, int],
        since: Mapping[int, int] | None,
    ) -> None:
        async with self._writing:
            held, self._seen = self._seen, None
            if held is None or held.seqs != since:
                held = await self._rows.checkpoints()
            if since is not None and held.seqs != since:
                raise Overtaken("Another process has written the search index meanwhile.")
            self._hidden = True
            await self._bulk.put(puts(iter(events), iter(locations)))
            if not self._filling:
                # First: whoever sees the checkpoints must find all that they cover, to place it anew.
                await self._refresh()
            await self._move({**held.seqs, **checkpoints}, held)

    async def _move(self, seqs: Mapping[int, int], held: Checkpoints) -> None:
        """Move the checkpoints from where they were seen; raises `Overtaken` where they are there no more."""
        document = {"id": CHECKPOINTS, "kind": CHECKPOINTS, "row": seqs}
        await self._cluster.ask(
            lambda client: client.index(
                index=self._alias, id=CHECKPOINTS, document=document, require_alias=True, **held.condition
            ),
            Nothing,
            patient=True,
        )
