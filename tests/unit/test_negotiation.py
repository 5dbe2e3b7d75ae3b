"""Callers get the media type that they like best."""

from __future__ import annotations

import pytest

from myevents.negotiation import best

NEW, OLD = "application/graphql-response+json", "application/json"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, OLD),
        ("", OLD),
        ("*/*", OLD),
        ("application/*", OLD),
        (OLD, OLD),
        (NEW, NEW),
        (f"{NEW}, {OLD}", NEW),
        (f"{OLD}, {NEW}", NEW),
        (f"{NEW};q=0.5, {OLD};q=0.9", OLD),
        (f"{NEW};q=0, */*", OLD),
        (f"{OLD};q=0, */*;q=0.1", NEW),
        ("text/html, */*;q=0.1", OLD),
        ("text/html", None),
        (f"{OLD};q=x", None),
        ("APPLICATION/JSON", OLD),
    ],
)
def test_the_best_liked_of_what_there_is_is_chosen(accept: str | None, chosen: str | None) -> None:
    assert best(accept, (NEW, OLD), usual=OLD) == chosen
