"""Reads documents as they are kept: by their ids as of now, or all that a query finds, in order, from one state."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from myevents.search.elastic.answers import Page
from myevents.search.elastic.cluster import Cluster, Nothing, SearchMissing
from myevents.search.elastic.documents import CHECKPOINTS
from myevents.search.elastic.queries import Query
from myevents.search.port import SearchUnavailable
from schema.read_models import EventRow

_BATCH: Final = 1000
"""Documents read at once."""

_KEPT: Final = "2m"
"""How long a state is kept for the next batch to be read from it."""

Source = TypeVar("Source")


class Checkpoints(Struct, frozen=True):
    """The checkpoints, and what must still hold of their document when they are moved."""

    seqs: dict[int, int]
    condition: Mapping[str, Any]


class Rows:
    """What is in `target`, an index or an alias."""

    def __init__(self, cluster: Cluster, target: str) -> None:
        self._cluster = cluster
        self._target = target

    async def checkpoints(self) -> Checkpoints:
        """The checkpoints as of now."""
        [document] = await self._documents([CHECKPOINTS], _Documents[_CheckpointsSource])
        if document.source is None:
            return Checkpoints({}, {"op_type": "create"})
        condition = {"if_seq_no": document.seq_no, "if_primary_term": document.primary_term}
        return Checkpoints(document.source.row, condition)

    async def by_id(self, ids: Collection[str], kind: type[Source]) -> list[Source]:
        """What those documents keep that there are."""
        found: list[Source] = []
        waiting = iter(ids)
        while some := list(islice(waiting, _BATCH)):
            documents: list[_Document[Source]] = await self._documents(some, _Documents[kind])  # type: ignore[valid-type]
            found += [document.source for document in documents if document.source is not None]
        return found

    async def each(self, query: Query) -> AsyncGenerator[list[EventRow], None]:
        """The rows of all events that the query finds, by id, in batches."""
        opened = await self._cluster.ask(
            lambda client: client.open_point_in_time(index=self._target, keep_alive=_KEPT), _Opened, patient=True
        )
        state, after = opened.id, list[Any]()
        try:
            while True:
                page = await self._page(query, state, after)
                state = page.pit_id or state
                if page.hits.hits:
                    yield [found.source.row for found in page.hits.hits]
                if len(page.hits.hits) < _BATCH:
                    return
                after = page.hits.hits[-1].sort
        finally:
            with suppress(SearchUnavailable):
                await self._cluster.ask(lambda client: client.close_point_in_time(id=state), Nothing)

    async def _page(self, query: Query, state: str, after: list[Any]) -> Page:
        body = {
            "query": {"bool": {"filter": query}},
            "size": _BATCH,
            "sort": [{"id": "asc"}],
            "pit": {"id": state, "keep_alive": _KEPT},
            "track_total_hits": False,
            **({"search_after": after} if after else {}),
        }
        return await self._cluster.ask(
            lambda client: client.search(body=body, allow_partial_search_results=False), Page, patient=True
        )

    async def _documents(self, ids: list[str], kind: type[_Documents[Source]]) -> list[_Document[Source]]:
        answer = await self._cluster.ask(lambda client: client.mget(index=self._target, ids=ids), kind, patient=True)
        for document in answer.docs:
            if document.error is not None:
                if document.error.type == "index_not_found_exception":
                    raise SearchMissing
                raise SearchUnavailable(f"Elasticsearch cannot read this now ({document.error.type}): try again.")
        return answer.docs


class _CheckpointsSource(Struct):
    row: dict[int, int]


class _Reason(Struct):
    type: str = ""


class _Document(
    Struct, Generic[Source], rename={"source": "_source", "seq_no": "_seq_no", "primary_term": "_primary_term"}
):
    source: Source | None = None
    seq_no: int = 0
    primary_term: int = 0
    error: _Reason | None = None


class _Documents(Struct, Generic[Source]):
    docs: list[_Document[Source]]


class _Opened(Struct):
    id: str
