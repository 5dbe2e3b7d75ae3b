"""What came of asking caches, told from their own counts whenever somebody wants to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric

_ANSWERS: Final = ("hit", "shared", "joined", "miss", "bypass", "away", "error")
"""What may come of asking; what is stored is no question."""


class Caches:
    """The caches of one process, by name."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Mapping[str, int]] = {}

    def watch(self, name: str, outcomes: Mapping[str, int]) -> None:
        """Tell of these counts from now on."""
        self._outcomes[name] = outcomes

    def collect(self) -> Iterator[Metric]:
        """How often each outcome came about."""
        found = CounterMetricFamily(
            "myevents_cache_requests",
            "Requests by outcome: hit, shared (another process's), joined (another's on its way), miss, bypass (asked "
            "to be made anew, or with a position not reached), away (not asked while it does not answer), error.",
            labels=("cache", "outcome"),
        )
        for name, outcomes in self._outcomes.items():
            for outcome in _ANSWERS:
                found.add_metric((name, outcome), outcomes.get(outcome, 0))
        yield found
