"""Finds where in a partition of a topic the fact after a seq lies, by looking at single records.

A fact's offset is its seq less one as long as nothing was ever repeated or lost. So an offset is only a guess, and
what is read there tells whether it was a good one.
"""

from __future__ import annotations

from typing import Final

NEAR: Final = 1000
"""Facts that are sooner read and dropped than looked past."""

_LEAPS: Final = 4
"""Guesses that trust in distances; those after them halve what is left."""


class Placing:
    """Look at `offset`, tell what is there by `saw`, until it is `found`: from there on read."""

    def __init__(self, *, after: int, first: int, end: int, guess: int) -> None:
        """The partition has records from offset `first` up to, but not with, `end`."""
        self._wanted = after + 1
        self._first = self._low = first
        self._high = end
        self._looks = 0
        self.found = first >= end
        self.offset = first if self.found else min(max(guess, first), end - 1)

    def saw(self, seq: int | None) -> None:
        """The fact at `offset` has this seq; None: what is there is no fact, so that all is read from the start."""
        self._looks += 1
        if seq is None:
            self._settle(self._first)
        elif seq > self._wanted:
            self._high = self.offset
            self._go_on(seq)
        else:
            self._low = self.offset
            if self._wanted - seq <= NEAR:
                self._settle(self.offset)
            else:
                self._go_on(seq)

    def _settle(self, offset: int) -> None:
        self.offset, self.found = offset, True

    def _go_on(self, seq: int) -> None:
        """Between what is not too far and what is too far, look next; where nothing is between, a fact is missing."""
        if self._high - self._low <= 1:
            self._settle(self._low)
            return
        leap = self.offset + self._wanted - seq
        if self._looks > _LEAPS or not self._low < leap < self._high:
            leap = (self._low + self._high) // 2
        self.offset = leap
