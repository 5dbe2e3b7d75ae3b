"""Shows where an event has what was searched for: safe HTML with <em> marks, the same whatever the engine."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Final

from rapidfuzz.distance import OSA

from myevents.search.text import searched
from myevents.search.words import CJK, JOINED, Asked, forgiven
from schema.folding import fold
from schema.read_models import EventRow

LONGEST: Final = 160
"""Characters of a piece of text, its marks not counted."""

_SHORT: Final = 300
"""Characters of a text whose words are remembered."""

# What is joined is looked at whole first, then in its parts; marks may follow their letter.
_WORD: Final = re.compile(rf"[{CJK}]|(?:[^\W_{CJK}]|[\u0300-\u036f])+[+#]*")


def highlights(row: EventRow, asked: Asked, *, forgiving: bool) -> list[str]:
    """A piece of each text that has a match: name, topics, place, date, description."""
    pieces = []
    for text in searched(row).values():
        spans = _spans(text, asked, forgiving=forgiving)
        if spans:
            pieces.append(_marked(text, spans))
    return pieces


def _spans(text: str, asked: Asked, *, forgiving: bool) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for word, start, end in _remembered(text) if len(text) <= _SHORT else _words_in(text):
        inside = any(begin <= start and end <= stop for begin, stop in found)
        if not inside and _matches(word, asked, forgiving=forgiving):
            found.append((start, end))
    return sorted(found)


def _words_in(text: str) -> list[tuple[str, int, int]]:
    """The folded words of a text and where they stand, those that are joined from several first."""
    joined = [("".join(re.findall(r"\w+", fold(match[0]))), *match.span()) for match in JOINED.finditer(text)]
    return joined + [(fold(match[0]), *match.span()) for match in _WORD.finditer(text)]


# What is found often is found again: names, places and topics are looked through once.
_remembered = lru_cache(maxsize=4096)(_words_in)


def _matches(word: str, asked: Asked, *, forgiving: bool) -> bool:
    if any(word in phrase for phrase in asked.phrases) or word in asked.words:
        return True
    if asked.open_ended and asked.words and word.startswith(asked.words[-1]):
        return True
    return forgiving and any(
        OSA.distance(word, wanted, score_cutoff=forgiven(wanted)) <= forgiven(wanted) for wanted in asked.words
    )


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
