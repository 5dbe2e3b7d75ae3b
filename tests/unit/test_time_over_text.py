"""Whatever reads a caller's text takes time in proportion to it, and never holds the event loop up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, get_args

import pytest

from command.inputs import Url, checked
from myevents.errors import Refused
from myevents.search.elastic.documents import event_document as elastic_document
from myevents.search.elastic.documents import pairs
from myevents.search.embedded.documents import event_document as embedded_document
from myevents.search.highlights import highlights
from myevents.search.text_cache import indexed_once
from myevents.search.words import asked, indexed, words
from schema.folding import fold
from tests.search_corpus import an_event_row

MOST_RATIO: Final = 2.5
"""Of the time for 20,000 characters to that for 10,000."""

MOST_SECONDS: Final = 0.1
"""Of one call that may hold the event loop, in time of its thread."""

_TRIES: Final = 40
_MEASURED_SECONDS: Final = 0.001

CLASSES: Final = {
    "a letter": "a",
    "words": "a ",
    "words that are found": "needle ",
    "words that are nearly found": "needel ",
    "accented letters": "é",
    "letters that fold to two": "ßæ",
    "a letter that lower case lengthens": "İ",
    "capital letters": "A",
    "marks": "\u0301\u0323",
    "letters with marks": "a\u0301\u0323\u0315\u0301",
    "joiners": ".",
    "every joiner": ".-'\u2019&",
    "letters and joiners": "a.",
    "letters and two joiners": "a.-",
    "a long word and a joiner": "a" * 500 + "-",
    "digits": "1",
    "underscores": "_",
    "letters and underscores": "a_",
    "plus signs": "+",
    "C++": "C++",
    "quotes": '"',
    "quoted letters": '"a" ',
    "quotes and letters": '"a',
    "spaces": " ",
    "wide spaces": "\u3000",
    "what HTML escapes": "<&>",
    "units of six letters": "\u3316",
    "ligatures of eighteen": "\ufdfa",
    "wide letters": "\uff21",
    "ideographs": "東",
    "kana": "ガ",
    "Hangul": "한",
    "Hangul in parts": "\u1112\u1161\u11ab",
    "Arabic": "عَ",
    "Devanagari": "क्षि",
    "Bengali in parts": "\u0995\u09c7\u09be",
    "Greek": "Σΐ",
    "Cyrillic": "й ",
    "emoji": "👩\u200d👩\u200d👧",
}
"""Pieces that texts are made of."""


def _check(text: str) -> None:
    with suppress(Refused):
        checked(text, ("description",))


def _highlighted(searched: str, *, forgiving: bool = False) -> Callable[[str], object]:
    wanted = asked(searched)
    return lambda text: highlights(an_event_row("A", description=text), wanted, forgiving=forgiving)


FUNCTIONS: Final[dict[str, Callable[[str], Any]]] = {
    "fold": fold,
    "words": words,
    "indexed": indexed,
    "asked": asked,
    "pairs": pairs,
    "highlights of what is nowhere": _highlighted("zzz"),
    "highlights of what is everywhere": _highlighted("needle a c++"),
    "highlights that forgive": _highlighted("needles kubernetes javascript", forgiving=True),
    "a document of Elasticsearch": lambda text: elastic_document(an_event_row("A", description=text)),
    "a document of tantivy": lambda text: embedded_document(an_event_row("A", description=text)),
    "a check of what is sent": _check,
    "the pattern of addresses": lambda text: re.search(str(get_args(Url)[1].pattern), f"https://{text}"),
}
"""What reads a text of a caller's, whose length the caller chooses."""


@pytest.mark.parametrize("function", FUNCTIONS)
def test_twice_the_text_takes_at_most_two_and_a_half_times_as_long(function: str) -> None:
    called = FUNCTIONS[function]
    wrong = []
    for name, piece in CLASSES.items():
        ratio, seconds = _cost(called, piece)
        if ratio > MOST_RATIO or seconds > MOST_SECONDS:
            wrong.append(f"{name}: {ratio:.1f} times as long, {seconds:.3f} s")
    assert wrong == []


def _cost(called: Callable[[str], Any], piece: str) -> tuple[float, float]:
    """Return the ratio for twice the characters, and the seconds for 20,000: the least of some measurements.

    The ratio is that of 20,000 to 10,000, or else of 10,000 to 5,000: between two sizes the allocator of memory may
    begin to ask the system for each text, which costs more than reading it, but not between both pairs.
    """
    ratio, seconds = _measure(called, piece, 10_000)
    if ratio > MOST_RATIO:
        ratio = min(ratio, _measure(called, piece, 5_000)[0])
    return ratio, seconds


def _measure(called: Callable[[str], Any], piece: str, size: int) -> tuple[float, float]:
    """Return the ratio for twice `size` characters to `size`, and the seconds for twice `size`."""
    short, long = (piece * (each // len(piece)) for each in (size, 2 * size))
    if (once := _seconds(called, long, 1)) > 10 * MOST_SECONDS:
        return once / _seconds(called, short, 1), once
    calls = 1 + int(_MEASURED_SECONDS / max(once, 1e-6))
    least = [float("inf"), float("inf")]
    for _ in range(_TRIES):
        for place, text in enumerate((short, long)):
            least[place] = min(least[place], _seconds(called, text, calls))
        if least[1] <= MOST_RATIO * least[0] and least[1] <= MOST_SECONDS:
            break
    return least[1] / least[0], least[1]


def _seconds(called: Callable[[str], Any], text: str, calls: int) -> float:
    """Return the seconds of the thread's time that a call takes, with nothing remembered of the text."""
    began = time.thread_time()
    for _ in range(calls):
        indexed_once.clear()
        called(text)
    return max(time.thread_time() - began, 1e-6) / calls


@pytest.mark.parametrize("document", [elastic_document, embedded_document])
def test_an_event_that_is_booked_is_not_analysed_again(document: Callable[[Any], object]) -> None:
    for piece in ("\u3316", "a ", "a.b "):
        row = an_event_row("A", description=piece * (10_000 // len(piece)))
        first, again = float("inf"), float("inf")
        for seats in range(5):
            indexed_once.clear()
            began = time.thread_time()
            document(row)
            first = min(first, time.thread_time() - began)
            booked = an_event_row("A", description=str(row.description), seats_booked=seats, version=2)
            began = time.thread_time()
            document(booked)
            again = min(again, time.thread_time() - began)
        assert again < first / 2
