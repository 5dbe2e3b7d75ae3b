"""The place of a fact in a topic is found, whatever was repeated there, lost, or filled in later."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from myevents.log.placing import NEAR, Placing
from tests.random_cases import cases

MANY = 50 * NEAR


def place(seqs: Sequence[int], after: int, guess: int) -> tuple[int, int]:
    """The offset to read from in a partition with these seqs, and how many records were looked at."""
    placing, looks = Placing(after=after, first=0, end=len(seqs), guess=guess), 0
    while not placing.found:
        placing.saw(seqs[placing.offset])
        looks += 1
    return placing.offset, looks


def test_where_nothing_was_repeated_the_first_look_is_the_last() -> None:
    seqs = range(1, MANY + 1)
    assert place(seqs, 7000, 7000) == (7000, 1)
    assert place(seqs, MANY, MANY) == (MANY - 1, 1)
    assert place([], 9, 9) == (0, 0)


def test_after_a_repeated_range_the_place_is_found_by_the_distance() -> None:
    seqs = [*range(1, 20_001), *range(5001, MANY + 1)]
    offset, looks = place(seqs, 40_000, 40_000)
    assert seqs[offset] == 40_001
    assert looks == 2


def test_in_a_topic_that_begins_too_late_all_is_read() -> None:
    seqs = [*range(30_001, MANY + 1), *range(1, 30_001)]
    offset, _ = place(seqs, 10_000, 10_000)
    assert seqs[offset] == 30_001
    offset, _ = place(seqs, 45_000, 45_000)
    assert seqs[offset] <= 45_001


def test_a_record_that_is_no_fact_means_reading_all() -> None:
    placing = Placing(after=500, first=3, end=900, guess=500)
    placing.saw(None)
    assert (placing.found, placing.offset) == (True, 3)


_ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=12)


@settings(max_examples=cases(300))
@given(_ranges, st.integers(0, 50 * NEAR), st.integers(0, 60 * NEAR))
def test_reading_on_from_the_place_comes_by_the_fact_unless_it_is_lost(
    ranges: list[tuple[int, int]], after: int, guess: int
) -> None:
    seqs: list[int] = []
    for first, count in ranges:
        seqs += range(first * 500, (first + count) * 500)
    offset, looks = place(seqs, after, guess)
    assert looks < 25
    if offset == 0 or not seqs:
        return
    # It does not begin behind the fact: what is there is the fact, or comes before it.
    assert seqs[offset] <= after + 1
