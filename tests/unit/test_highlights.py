"""A hit shows where it has what was searched for, and nothing in it can be mistaken for a mark."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from myevents.search.highlights import LONGEST, HighlightBudget, highlights
from myevents.search.words import asked, words
from tests.search_corpus import an_event_row


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("React London", "react", ["<em>React</em> London"]),
        ("React London", "lon rea", ["<em>React</em> London"]),
        ("React London", "rea", ["<em>React</em> London"]),
        ("Node.js Conf", "nodejs", ["<em>Node.js</em> Conf"]),
        ("Node.js Conf", "js", ["Node.<em>js</em> Conf"]),
        ("Zürich & Köln", "zurich koln", ["<em>Zürich</em> &amp; <em>Köln</em>"]),
        ("Cafe\u0301 <script>", "café", ["<em>Cafe\u0301</em> &lt;script&gt;"]),
        ("Modern C++", "c++", ["Modern <em>C++</em>"]),
        ('The "data science" day', '"data science"', ["The &quot;<em>data</em> <em>science</em>&quot; day"]),
        ("東京カンファレンス", "東京", ["<em>東</em><em>京</em>カンファレンス"]),
        ("Nothing", "else", []),
    ],
)
def test_the_words_are_marked_and_all_else_is_escaped(name: str, text: str, shown: list[str]) -> None:
    assert highlights(an_event_row(name), asked(text), forgiving=False) == shown


def test_a_misspelt_word_is_marked_where_typing_errors_were_forgiven() -> None:
    row = an_event_row("Kubernetes Day")
    assert highlights(row, asked("kubernets"), forgiving=True) == ["<em>Kubernetes</em> Day"]
    assert highlights(row, asked("kubernets"), forgiving=False) == []


def test_of_a_long_text_the_piece_around_the_first_match_is_shown() -> None:
    row = an_event_row("A", description="word " * 100 + "needle " + "word " * 100)
    [piece] = highlights(row, asked("needle"), forgiving=False)
    assert piece.startswith("…")
    assert piece.endswith("…")
    assert "<em>needle</em>" in piece
    assert len(piece) <= LONGEST + len("<em></em>……")


@given(some.text(max_size=300), some.text(max_size=40))
def test_without_its_marks_a_piece_is_harmless(name: str, text: str) -> None:
    for piece in highlights(an_event_row("x", description=name), asked(text), forgiving=True):
        rest = piece.replace("<em>", "").replace("</em>", "")
        assert not re.search("[<>\"']", rest)
        assert piece.count("<em>") == piece.count("</em>") > 0


@given(some.text(max_size=200))
def test_words_are_the_same_however_they_are_cased(text: str) -> None:
    assert words(text) == words(" ".join(words(text)))
    assert words(text.upper()) == words(text.upper().lower())


def test_what_stands_far_behind_the_first_match_is_not_looked_through() -> None:
    row = an_event_row("A", description="needle hay needle " + "hay " * 100 + "needle")
    [piece] = highlights(row, asked("needle"), forgiving=False)
    assert piece.startswith("<em>needle</em> hay <em>needle</em> hay")
    assert piece.count("<em>") == 2


def test_a_word_longer_than_those_in_the_index_is_marked_where_its_beginning_is_found() -> None:
    row = an_event_row("x" * 100)
    assert highlights(row, asked("x" * 100), forgiving=False) == [f"<em>{'x' * 100}</em>"]


def test_a_word_that_begins_within_a_joined_one_is_not_shown_twice() -> None:
    assert highlights(an_event_row("a.b+"), asked("ab b+"), forgiving=False) == ["<em>a.b</em>+"]


def test_hits_share_a_budget_and_short_texts_are_marked_after_a_long_one_has_no_room() -> None:
    row = an_event_row("Needle", topics=("needle",), description="needle " * 100)
    budget = HighlightBudget(3 * len("NeedleneedleJanuary 2020") + len(row.description or ""))
    pieces = [len(highlights(row, asked("needle"), forgiving=False, budget=budget)) for _ in range(4)]
    assert pieces == [3, 2, 2, 0]
