"""Shows where an event has what was searched for: safe HTML with <em> marks, the same whatever the engine."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from functools import lru_cache
from heapq import merge
from typing import Final

from rapidfuzz.distance import OSA

from myevents.search.text import searched
from myevents.search.words import CJK, JOINED, Asked, forgiven
from myevents.search.words import LONGEST as WORD_CHARACTERS
from schema.folding import fold
from schema.read_models import EventRow

LONGEST: Final = 160
"""Characters of a piece of text, its marks not counted."""

REQUEST_CHARACTERS: Final = 200_000
"""Characters of texts that are looked through for the hits of one request: twenty descriptions as long as may be."""

_SHORT: Final = 300
"""Characters of a text whose words are remembered."""

_SHORT_WORD: Final = 20
"""Characters of a word whose folded form is remembered: a text has the same ones over and over."""

# What is joined is looked at whole first, then in its parts; marks may follow their letter.
_WORD: Final = re.compile(rf"[{CJK}]|(?:[^\W_{CJK}]|[\u0300-\u036f])+[+#]*")

_Word = tuple[str, int, int]
"""A folded word, and where it begins and ends in its text."""


class HighlightBudget:
    """How many characters may still be looked through for a request. Threads may share it."""

    def __init__(self, characters: int = REQUEST_CHARACTERS) -> None:
        self._left = characters
        self._lock = threading.Lock()

    def spend(self, characters: int) -> bool:
        """Take that many off and return True; where fewer are left, return False and leave them for shorter texts."""
        with self._lock:
            if characters > self._left:
                return False
            self._left -= characters
            return True


def highlights(row: EventRow, asked: Asked, *, forgiving: bool, budget: HighlightBudget | None = None) -> list[str]:
    """A piece of each text that has a match: name, topics, place, date, description.

    A text that is longer than what `budget` has left is passed over.
    """
    budget = budget or HighlightBudget()
    pieces = []
    matcher = _matcher(asked, forgiving)
    for text in searched(row).values():
        if budget.spend(len(text)) and (spans := _spans(text, matcher)):
            pieces.append(_marked(text, spans))
    return pieces


class _Matcher:
    """Tells which folded words a search marks."""

    def __init__(self, asked: Asked, forgiving: bool) -> None:
        self._exact = frozenset(asked.words).union(*asked.phrases)
        self._beginning = asked.words[-1] if asked.open_ended and asked.words else None
        # By the lengths of the words that may be near: most words of a text are compared with none.
        self._fuzzy: dict[int, list[tuple[str, int]]] = {}
        for wanted in asked.words if forgiving else ():
            errors = forgiven(wanted)
            for length in range(len(wanted) - errors, len(wanted) + errors + 1) if errors else ():
                self._fuzzy.setdefault(length, []).append((wanted, errors))

    def matches(self, word: str) -> bool:
        """Return whether `word` is marked."""
        if word in self._exact or (self._beginning is not None and word.startswith(self._beginning)):
            return True
        return any(
            OSA.distance(word, wanted, score_cutoff=errors) <= errors
            for wanted, errors in self._fuzzy.get(len(word), ())
        )


@lru_cache(maxsize=16)
def _matcher(asked: Asked, forgiving: bool) -> _Matcher:
    return _Matcher(asked, forgiving)


def _spans(text: str, matcher: _Matcher) -> list[tuple[int, int]]:
    """Return where `text` matches, in order and apart from each other, as far as a piece around the first shows it."""
    found: list[tuple[int, int]] = []
    for word, start, end in _remembered(text) if len(text) <= _SHORT else _words_in(text):
        if found and start > found[0][0] + LONGEST:
            break
        if (not found or start >= found[-1][1]) and matcher.matches(word):
            found.append((start, end))
    return found


def _words_in(text: str) -> Iterator[_Word]:
    """Yield the words of a text as they begin, one that is joined from several before its parts."""
    return merge(_joined(text), _single(text), key=lambda word: word[1])


def _joined(text: str) -> Iterator[_Word]:
    for match in JOINED.finditer(text):
        yield "".join(re.findall(r"\w+", fold(match[0], most=2 * WORD_CHARACTERS)))[:WORD_CHARACTERS], *match.span()


def _single(text: str) -> Iterator[_Word]:
    for match in _WORD.finditer(text):
        word = match[0]
        folded = _fold_short(word) if len(word) <= _SHORT_WORD else fold(word, most=WORD_CHARACTERS)
        yield folded, *match.span()


@lru_cache(maxsize=8192)
def _fold_short(word: str) -> str:
    return fold(word, most=WORD_CHARACTERS)


@lru_cache(maxsize=4096)
def _remembered(text: str) -> list[_Word]:
    """Return the words of a short text: names, places and topics are found often, and looked through once."""
    return list(_words_in(text))


def _marked(text: str, spans: list[tuple[int, int]]) -> str:
    """The piece of `text` around the first spans, all but the marks escaped."""
    begin, end = 0, len(text)
    if len(text) > LONGEST:
        begin = max(0, min(spans[0][0] - LONGEST // 4, len(text) - LONGEST))
        end = max(begin + LONGEST, spans[0][1])
    parts, at = ["…" if begin else ""], begin
    for start, stop in spans:
        if stop <= end:
            parts.append(f"{html.escape(text[at:start])}<em>{html.escape(text[start:stop])}</em>")
            at = stop
    parts += [html.escape(text[at:end]), "…" if end < len(text) else ""]
    return "".join(parts)
