"""Better spellings, by the words that published events have in their names, topics and places."""

from __future__ import annotations

from collections import Counter
from typing import Final

import tantivy
from rapidfuzz.distance import OSA

from myevents.search.words import asked, forgiven

_FIELDS: Final = ("name", "topics", "place")


class Spelling:
    """The words of one state of the index, collected when first asked for."""

    def __init__(self, schema: tantivy.Schema, searcher: tantivy.Searcher) -> None:
        published = tantivy.Query.term_query(schema, "status", "PUBLISHED")
        self._counts: Counter[str] = Counter()
        for field in _FIELDS:
            self._counts.update(dict(searcher.terms_with_prefix(field, "", published)))

    def better(self, text: str) -> str | None:
        """`text` with each unknown word in its nearest spelling; None where there is nothing to better."""
        wanted = asked(text)
        if not wanted.words:
            return None
        *words, last = wanted.words
        begun = wanted.open_ended and any(known.startswith(last) for known in self._counts)
        bettered = [*(self._nearest(word) for word in words), last if begun else self._nearest(last)]
        return " ".join(bettered) if bettered != [*words, last] else None

    def _nearest(self, word: str) -> str:
        """The word itself where it is known or nothing is near; else the nearest, of these the most frequent."""
        errors = forgiven(word)
        if word in self._counts or not errors:
            return word
        near = [
            (distance, -count, known)
            for known, count in self._counts.items()
            if abs(len(known) - len(word)) <= errors
            and (distance := OSA.distance(word, known, score_cutoff=errors)) <= errors
        ]
        return min(near)[2] if near else word
