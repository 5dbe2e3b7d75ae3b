"""The facts of one partition between the last that is applied and the last that came, put in order.

What carries facts may repeat them and may leave some out. One rule makes order of it: the next fact is kept, one that
was there is dropped, and where one is missing all that follow wait until it is filled in from elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from schema.facts import RecordedFact, UnreadableFact

Arrival = RecordedFact | UnreadableFact | None
"""A fact as it came; None stands for a record that nothing can be made of."""


class Hole(Struct, frozen=True):
    """Facts after `after` are missing, up to `last`; None: nobody knows how many, perhaps none."""

    after: int
    last: int | None


class Window:
    """Consecutive facts after a seq, and behind them what came and cannot follow yet."""

    def __init__(self, after: int) -> None:
        self._start = after
        self._facts: list[RecordedFact | UnreadableFact] = []
        self._came: deque[Arrival] = deque()
        self.repeated = 0

    @property
    def start(self) -> int:
        """The seq after which it has facts."""
        return self._start

    @property
    def end(self) -> int:
        """The seq of the last fact that can be read."""
        return self._start + len(self._facts)

    def __len__(self) -> int:
        """All that it keeps."""
        return len(self._facts) + len(self._came)

    @property
    def hole(self) -> Hole | None:
        """What has to be filled in before it can go on."""
        if not self._came:
            return None
        first = self._came[0]
        return Hole(self.end, None if first is None else first.seq - 1)

    def come(self, arrivals: Iterable[Arrival]) -> None:
        """Take in what came, in the order it came."""
        self._came.extend(arrivals)
        self._advance()

    def fill(self, hole: Hole, facts: Iterable[RecordedFact | UnreadableFact]) -> None:
        """Take in what `hole` was filled with: consecutive facts after it, perhaps not all yet."""
        for fact in facts:
            if fact.seq == self.end + 1:
                self._facts.append(fact)
        if hole.last is None and self._came and self._came[0] is None:
            self._came.popleft()
        self._advance()

    def read(self, after: int, limit: int) -> list[RecordedFact | UnreadableFact]:
        """The facts after `after`, which is not before `start`; at most `limit`."""
        place = after - self._start
        return self._facts[place : place + limit]

    def forget(self, seq: int) -> None:
        """Let go of the facts up to `seq`, also of those that have not come yet."""
        if seq > self._start:
            del self._facts[: seq - self._start]
            self._start = seq
            self._advance()

    def _advance(self) -> None:
        while self._came and (fact := self._came[0]) is not None and fact.seq <= self.end + 1:
            if fact.seq == self.end + 1:
                self._facts.append(fact)
            else:
                self.repeated += 1
            self._came.popleft()
