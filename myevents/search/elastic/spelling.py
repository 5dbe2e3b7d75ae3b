"""Better spellings, by the words that published events have in their names, topics and places."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct
from rapidfuzz.distance import OSA

from myevents.search.elastic.answers import Buckets
from myevents.search.elastic.cluster import Cluster
from myevents.search.elastic.documents import SPELLED
from myevents.search.elastic.queries import PUBLISHED, any_of, begins, near_word
from myevents.search.words import asked, forgiven

_VALUES: Final = 10_000
"""Words near a misspelt one that are looked at, in each field."""

Answer = TypeVar("Answer")


class Spelling:
    """Asks `target`, an index or an alias, for the words it has."""

    def __init__(self, cluster: Cluster, target: str) -> None:
        self._cluster = cluster
        self._target = target

    async def better(self, text: str) -> str | None:
        """`text` with each unknown word in its nearest spelling; None where there is nothing to better."""
        wanted = asked(text)
        if not wanted.words:
            return None
        known = await self._known(wanted.words, begun=wanted.open_ended)
        unknown = [word for word in dict.fromkeys(wanted.words) if word not in known and forgiven(word)]
        bettered = await self._bettered(unknown) if unknown else {}
        words = tuple(bettered.get(word, word) for word in wanted.words)
        return " ".join(words) if words != wanted.words else None

    async def _known(self, words: Sequence[str], *, begun: bool) -> set[str]:
        """Those of the words that some event has; of the last its beginning is enough where it is only begun."""
        asked_for: dict[str, Any] = {word: any_of([{"term": {field: word}} for field in SPELLED]) for word in words}
        if begun:
            asked_for[words[-1]] = any_of([begins(field, words[-1]) for field in SPELLED])
        counted = await self._ask({"known": {"filters": {"filters": asked_for}}}, _Counted)
        return {word for word, bucket in counted.aggregations.known.buckets.items() if bucket.doc_count}

    async def _bettered(self, words: Sequence[str]) -> dict[str, str]:
        """Of each word the nearest there is, of these the most frequent."""
        answer = await self._ask({word: _neighbours(word) for word in words}, _Near)
        # Each of 20 words may have 30,000 to be compared with.
        return await asyncio.to_thread(_nearest, words, answer.aggregations)

    async def _ask(self, aggregations: dict[str, Any], kind: type[Answer]) -> Answer:
        body = {"query": {"bool": {"filter": PUBLISHED}}, "size": 0, "track_total_hits": False, "aggs": aggregations}
        return await self._cluster.ask(
            lambda client: client.search(index=self._target, body=body, allow_partial_search_results=False), kind
        )


def _nearest(words: Sequence[str], found: dict[str, _Words]) -> dict[str, str]:
    """Return the nearest spelling of each word that has one, of several the most frequent."""
    bettered = {}
    for word in words:
        counts = Counter[str]()
        for field in SPELLED:
            for bucket in getattr(found[word], field).buckets:
                counts[bucket.key] += bucket.doc_count
        errors = forgiven(word)
        near = [(OSA.distance(word, known, score_cutoff=errors), -count, known) for known, count in counts.items()]
        distance, _, nearest = min(near, default=(errors + 1, 0, ""))
        if distance <= errors:
            bettered[word] = nearest
    return bettered


def _neighbours(word: str) -> dict[str, Any]:
    """Of the events with a word near it, all words of about its length."""
    shortest, longest = len(word) - forgiven(word), len(word) + forgiven(word)
    words = {"size": _VALUES, "include": f".{{{shortest},{longest}}}", "execution_hint": "map"}
    return {
        "filter": any_of([near_word(field, word) for field in SPELLED]),
        "aggs": {field: {"terms": {"field": spelled, **words}} for field, spelled in SPELLED.items()},
    }


class _Count(Struct):
    doc_count: int


class _Filters(Struct):
    buckets: dict[str, _Count]


class _Known(Struct):
    known: _Filters


class _Counted(Struct):
    aggregations: _Known


class _Words(Struct):
    name: Buckets
    topics: Buckets
    place: Buckets


class _Near(Struct):
    aggregations: dict[str, _Words]
