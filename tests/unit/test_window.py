"""Whatever a topic repeats, leaves out or garbles: who reads through the window has each fact once and in order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from myevents.log.window import Arrival, Hole, Window
from schema.facts import UnreadableFact


def fact(seq: int) -> UnreadableFact:
    """A fact of which only the place matters."""
    return UnreadableFact(partition=0, seq=seq, stream_id="evt_a", version=seq, type="X", reason="")


def facts(*seqs: int) -> list[Arrival]:
    """Facts of these places."""
    return [fact(seq) for seq in seqs]


def seqs(window: Window) -> list[int]:
    """What can be read of it."""
    return [each.seq for each in window.read(window.start, 10_000)]


def test_the_next_fact_is_kept_and_one_that_was_there_is_dropped() -> None:
    window = Window(2)
    window.come(facts(1, 2, 3, 4, 3, 4, 5))
    assert (seqs(window), window.end, window.hole, window.repeated) == ([3, 4, 5], 5, None, 4)


def test_what_follows_a_hole_waits_until_it_is_filled() -> None:
    window = Window(0)
    window.come(facts(1, 4, 5))
    for filled in (1, 2):
        assert seqs(window) == list(range(1, filled + 1))
        assert window.hole == Hole(filled, 3)
        window.fill(Hole(filled, 3), [fact(filled + 1)])
    assert seqs(window) == [1, 2, 3, 4, 5]
    window.come(facts(2, 3, 6))
    assert seqs(window) == [1, 2, 3, 4, 5, 6]


def test_a_record_that_is_no_fact_is_a_hole_of_unknown_size() -> None:
    window = Window(0)
    window.come([*facts(1), None, *facts(3)])
    assert window.hole == Hole(1, None)
    window.fill(Hole(1, None), [fact(2), fact(3), fact(4)])
    assert seqs(window) == [1, 2, 3, 4]


def test_what_is_forgotten_makes_room_also_before_it_came() -> None:
    window = Window(0)
    window.come(facts(1, 2, 3, 8))
    window.forget(2)
    assert (window.start, seqs(window), len(window)) == (2, [3], 2)
    window.forget(7)
    assert (window.start, seqs(window), window.hole) == (7, [8], None)
    window.forget(5)
    assert window.start == 7


@given(st.lists(st.integers(1, 30) | st.none(), max_size=80), st.integers(0, 10))
def test_in_whatever_order_records_come_a_reader_misses_nothing(came: Sequence[int | None], after: int) -> None:
    window, read = Window(after), list[int]()
    for number in came:
        window.come([None if number is None else fact(number)])
        if number is not None and number % 3 == 0:
            continue
        while (hole := window.hole) is not None:
            last = hole.after + 2 if hole.last is None else min(hole.last, hole.after + 2)
            window.fill(hole, [fact(seq) for seq in range(hole.after + 1, last + 1)])
        here = read[-1] if read else after
        read += [each.seq for each in window.read(here, 7)]
        window.forget(read[-1] if read else after)
    assert read == list(range(after + 1, after + 1 + len(read)))
