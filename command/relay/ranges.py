"""Sets of whole numbers that are mostly without gaps, kept as ranges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class Ranges:
    """Numbers that were added, in any order; a run of numbers costs as much as one."""

    def __init__(self, *ranges: tuple[int, int]) -> None:
        self._firsts: list[int] = [first for first, last in ranges if first <= last]
        self._lasts: list[int] = [last for first, last in ranges if first <= last]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """First and last of each run, in order."""
        return zip(self._firsts, self._lasts, strict=True)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return at > 0 and number <= self._lasts[at - 1]

    @property
    def count(self) -> int:
        """How many numbers."""
        return sum(last - first + 1 for first, last in self)

    def add(self, number: int) -> None:
        """Add a number, which may be there."""
        if self._lasts and number == self._lasts[-1] + 1:
            self._lasts[-1] = number
            return
        at = bisect_right(self._firsts, number)
        if at and number <= self._lasts[at - 1]:
            return
        behind = at > 0 and self._lasts[at - 1] == number - 1
        before = at < len(self._firsts) and self._firsts[at] == number + 1
        if behind and before:
            self._lasts.pop(at - 1)
            self._firsts.pop(at)
        elif behind:
            self._lasts[at - 1] = number
        elif before:
            self._firsts[at] = number
        else:
            self._firsts.insert(at, number)
            self._lasts.insert(at, number)

    def missing(self, upto: int) -> Ranges:
        """The numbers 1 to `upto` that are not there."""
        gaps, reached = [], 0
        for first, last in self:
            if first > upto:
                break
            gaps.append((reached + 1, first - 1))
            reached = last
        return Ranges(*gaps, (reached + 1, upto))


def named(ranges: Ranges, limit: int = 10) -> str:
    """The ranges for people to read: `1 to 3, 7, and 4 more ranges`."""
    told = [str(first) if first == last else f"{first} to {last}" for first, last in ranges]
    rest = len(told) - limit
    return ", ".join(told[:limit]) + (f", and {rest} more ranges" if rest > 0 else "")
