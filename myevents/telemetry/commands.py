"""The metrics of the command side. A round is counted at once, so that a booking costs next to nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric

EVENTS: Final = 1000
"""Events that are counted by name at most; the bookings of all others are counted together."""

OTHER: Final = "other"
"""What the events beyond `EVENTS` are called."""

_SEATS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 100)
_ROUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_COMMITS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Bookings:
    """Bookings by event, and seats by booking. An event keeps the name that it had at its first booking here."""

    def __init__(self, events: int = EVENTS) -> None:
        self._most = events
        self._names: dict[str, str] = {}
        self._count: Tally[str] = Tally()
        self._seats = [0] * (len(_SEATS) + 1)
        self._sum = 0

    def add(self, seats: Mapping[str, Tally[int]], name_of: Callable[[str], str]) -> None:
        """Count bookings: of each event, how many of how many seats."""
        for event_id, sizes in seats.items():
            if event_id not in self._names and len(self._names) < self._most:
                self._names[event_id] = name_of(event_id)
            self._count[event_id if event_id in self._names else OTHER] += sizes.total()
            for size, bookings in sizes.items():
                self._seats[bisect_left(_SEATS, size)] += bookings
                self._sum += size * bookings

    def collect(self) -> Iterator[Metric]:
        """Both as Prometheus takes them."""
        # A counter, but under the name that the book gave it: the client would put `_total` behind a counter's.
        count = Metric("myevents_bookings_count", "Bookings made, by event; a counter.", "unknown")
        for event_id, bookings in self._count.items():
            labels = {"eventID": event_id, "eventName": self._names.get(event_id, OTHER)}
            count.add_sample("myevents_bookings_count", labels, bookings)
        yield count
        sizes = HistogramMetricFamily("myevents_seats_per_booking", "Seats of a booking.")
        bounds = [*(str(float(bound)) for bound in _SEATS), "+Inf"]
        sizes.add_metric([], list(zip(bounds, map(float, accumulate(self._seats)), strict=True)), self._sum)
        yield sizes


class CommandMetrics:
    """What the writers of one process do."""

    def __init__(self, registry: CollectorRegistry, *, events: int = EVENTS) -> None:
        self.bookings = Bookings(events)
        registry.register(self.bookings)
        self._commands = Counter(
            "myevents_commands_total",
            "Commands by how they ended: accepted, repeated (answered from memory), or the code of the error.",
            ("command", "outcome"),
            registry=registry,
        )
        self._depth = Gauge(
            "myevents_command_queue_depth", "Commands that wait for a round.", ("partition",), registry=registry
        )
        self._rounds = Histogram(
            "myevents_round_size", "Commands decided in one round.", buckets=_ROUNDS, registry=registry
        )
        self._commits = Histogram(
            "myevents_commit_seconds", "Seconds that a round's commit took.", buckets=_COMMITS, registry=registry
        )

    def watch(self, partition: int, depth: Callable[[], int]) -> None:
        """Ask `depth` how many commands wait whenever somebody wants to know."""
        self._depth.labels(str(partition)).set_function(depth)

    def ended(self, outcomes: Iterable[tuple[str, str]]) -> None:
        """Count commands: (command, outcome)."""
        for (command, outcome), times in Tally(outcomes).items():
            self._commands.labels(command, outcome).inc(times)

    def committed(self, commands: int, seconds: float) -> None:
        """Count a round."""
        self._rounds.observe(commands)
        self._commits.observe(seconds)
