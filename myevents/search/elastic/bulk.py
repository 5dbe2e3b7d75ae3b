"""Writes many documents: in pieces of bounded size, some at once, each document's own answer looked at."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from myevents.errors import MyEventsError
from myevents.search.elastic.cluster import Cluster, SearchMissing
from myevents.search.elastic.documents import Put, encoded
from myevents.search.port import SearchUnavailable

_ITEMS: Final = 500
"""Documents of a piece."""

_BYTES: Final = 900_000
"""Bytes of a piece, from which on it is full. The client's HTTP library warns of bodies of a MiB."""

_AT_ONCE: Final = 3
"""Pieces under way."""

_TRIES: Final = 6
_FIRST_PAUSE: Final = 0.1
_PASSING: Final = frozenset({429, 503})
_OLDER: Final = 409


class RowRefused(MyEventsError):
    """A row that the index cannot take, which no trying again mends."""


class Bulk:
    """Puts documents into `target`, which must be an alias: an index that is gone is not made by writing to it."""

    def __init__(self, cluster: Cluster, target: str) -> None:
        self._cluster = cluster
        self._target = target

    async def put(self, puts: Iterator[Put]) -> None:
        """Put all in that are not older than what is there; raises `SearchUnavailable` or `RowRefused`."""
        pieces = _Pieces(puts)
        workers = [asyncio.create_task(self._work(pieces)) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, pieces: _Pieces) -> None:
        while piece := await pieces.next():
            await self._send(piece)

    async def _send(self, piece: list[_Line]) -> None:
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            try:
                piece = await self._left(piece)
            except SearchUnavailable:
                if last:
                    raise
            if not piece:
                return
            await asyncio.sleep(random.uniform(0.5, 1.5) * _FIRST_PAUSE * 2**attempt)
        raise SearchUnavailable("Elasticsearch has no room for what is to be written: it is tried again.")

    async def _left(self, piece: list[_Line]) -> list[_Line]:
        """Send it; those that are to be sent again."""
        lines: list[Any] = [part for line in piece for part in (line.action, line.document)]
        answer = await self._cluster.ask(
            lambda client: client.bulk(
                index=self._target,
                operations=lines,
                require_alias=True,
                filter_path="errors,items.*.status,items.*.error",
            ),
            _Answer,
            patient=True,
        )
        return _to_send_again(piece, answer.items) if answer.errors else []


class _Pieces:
    """Makes the pieces, one at a time, off the event loop: the words of a piece's texts take long to find."""

    def __init__(self, puts: Iterator[Put]) -> None:
        self._pieces = _pieces(puts)
        self._making = asyncio.Lock()

    async def next(self) -> list[_Line]:
        """Return the next piece, an empty one after the last."""
        async with self._making:
            return await asyncio.to_thread(next, self._pieces, [])


class _Line(Struct, frozen=True):
    id: str
    action: bytes
    document: bytes


class _Reason(Struct):
    type: str = ""
    reason: str = ""


class _Item(Struct):
    status: int
    error: _Reason | None = None


class _Answer(Struct):
    errors: bool
    items: list[dict[str, _Item]] = []


def _pieces(puts: Iterator[Put]) -> Iterator[list[_Line]]:
    piece, size = list[_Line](), 0
    for put in puts:
        action = {"index": {"_id": put.id, "version": put.version, "version_type": "external_gte"}}
        line = _Line(put.id, encoded(action), encoded(put.document))
        piece.append(line)
        size += len(line.document)
        if len(piece) == _ITEMS or size >= _BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _to_send_again(piece: Sequence[_Line], items: Sequence[dict[str, _Item]]) -> list[_Line]:
    again = []
    for line, item in zip(piece, items, strict=True):
        [told] = item.values()
        if told.error is None or told.status == _OLDER:
            continue
        if told.error.type == "index_not_found_exception":
            raise SearchMissing
        if told.status not in _PASSING:
            raise RowRefused(f"The search index refuses {line.id}: {told.error.type}: {told.error.reason}")
        again.append(line)
    return again
