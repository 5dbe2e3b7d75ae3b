"""Texts become the words that they became before, however the words are found; very long ones are cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from myevents.search.text_cache import SHORT_CHARACTERS, TextCache
from myevents.search.words import JOINED, MOST, PHRASE_WORDS, TEXT_CHARACTERS, asked, indexed, words
from schema.folding import _LETTERS, fold

# It tries every start in a run of letters; what it finds is right.
SLOWLY_JOINED = re.compile(r"[^\W_]+(?:[.\-'\u2019&][^\W_]+)+")
TEXTS = some.one_of(
    some.text(max_size=60),
    some.text(alphabet="ab.-'\u2019&_ +1\u3316東é\u0301", max_size=60),
)


def _slowly_folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return unicodedata.normalize("NFKC", plain.casefold()).translate(_LETTERS)


@given(TEXTS)
def test_the_same_words_are_joined_as_by_trying_every_start(text: str) -> None:
    assert [match.span() for match in JOINED.finditer(text)] == [match.span() for match in SLOWLY_JOINED.finditer(text)]


@given(some.one_of(TEXTS, some.text(alphabet="aé\u0301\u0323\u0315\u0345\u0344\u1e9b\u0390\u1112\u1161\u11ab")))
def test_a_text_folds_as_if_its_marks_were_dropped_after_they_are_put_in_order(text: str) -> None:
    assert fold(text) == _slowly_folded(text)


@pytest.mark.parametrize("piece", ["word ", "größe ", "node.js ", "東京", "한글 ", "Ελλάδα "])
def test_a_description_of_ordinary_text_is_indexed_whole(piece: str) -> None:
    text = piece * (9990 // len(piece)) + " last"
    assert indexed(text).split().count("last") == 1
    assert len(words(text)) == len(words(piece)) * (9990 // len(piece)) + 1


@pytest.mark.parametrize("piece", ["\u3316", "\ufdfa", "a.", "東"])
def test_of_a_text_that_folding_lengthens_the_beginning_is_indexed(piece: str) -> None:
    assert len(indexed(piece * 30_000).split()) <= TEXT_CHARACTERS
    assert indexed(piece * 30_000).startswith(" ".join(words(piece)))
    assert len(indexed(piece * 30_000)) <= 3 * TEXT_CHARACTERS


def test_a_search_takes_so_many_words_and_phrases_and_so_many_words_of_a_phrase() -> None:
    letters = [f"w{number}" for number in range(MOST + 1)]
    assert asked(" ".join(letters)).words == tuple(letters[:MOST])
    assert len(asked('"a b" ' * (MOST + 1)).phrases) == MOST
    units, plain = "\u3316" * 190, "a " * 99
    assert asked(f'"{units}"').phrases == (tuple(words(units)[:PHRASE_WORDS]),)
    assert asked(f'"{plain}"').phrases == (("a",) * 99,)


def _counted() -> tuple[Callable[[str], str], list[str]]:
    seen: list[str] = []

    def compute(text: str) -> str:
        seen.append(text)
        return text.upper()

    return compute, seen


def test_what_was_computed_of_a_long_text_is_kept() -> None:
    compute, seen = _counted()
    cache, text = TextCache(compute), "x" * (SHORT_CHARACTERS + 1)
    assert [cache(text), cache("".join([text]))] == [text.upper()] * 2
    assert seen == [text]


def test_the_texts_that_were_used_last_are_kept_within_so_many_bytes() -> None:
    compute, seen = _counted()
    texts = [letter * 1000 for letter in "abc"]
    cache = TextCache(compute, max_bytes=2 * 8 * 1000)
    for text in (*texts[:2], texts[0], texts[2], texts[0]):
        cache(text)
    assert seen == texts
    assert cache.size_bytes == 2 * 8 * 1000
    cache(texts[1])
    assert seen == [*texts, texts[1]]
    cache("y" * 100_000)
    assert cache.size_bytes == 0
