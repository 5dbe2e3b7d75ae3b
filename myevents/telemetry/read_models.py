"""How far the read models are, and what their followers do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import asyncpg
from prometheus_client import CollectorRegistry, Counter, Gauge

from myevents.model_status import ModelStatus
from myevents.telemetry.tracing import Attributes, Tracing

STUCK: Final = 15.0
"""Seconds after which a follower that has neither applied a fact nor found that there is none is not able."""

IRREGULARITIES: Final = ("repeated", "holes", "malformed", "filled")

Statuses = Callable[[], Awaitable[Sequence[ModelStatus]]]


Checkpoint = tuple[str, int, int]
"""Model, build, partition."""


class _Standing(NamedTuple):
    """The seq of a checkpoint behind which facts wait, since when (monotonic), and whether a whole turn left it so."""

    seq: int
    since: float
    through_a_turn: bool


class ReadModelMetrics:
    """The live builds of the read models, asked for at every look.

    While nobody can be asked they are taken to stand still: their lag and the age of the heartbeat grow.
    """

    def __init__(self, registry: CollectorRegistry, statuses: Statuses) -> None:
        self._statuses = statuses
        self._known: Sequence[ModelStatus] = ()
        self._asked = time.monotonic()

        def gauge(name: str, documentation: str) -> Gauge:
            return Gauge(f"myevents_{name}", documentation, ("model",), registry=registry)

        self._facts = gauge("projector_lag_facts", "Facts of the log that the live build has not applied.")
        self._seconds = gauge("projector_lag_seconds", "Seconds since the live build last had every fact; 0 if it has.")
        self._age = gauge("projector_heartbeat_age_seconds", "Seconds since a projector last looked at the log.")
        self._parked = gauge("parked_streams", "Streams set aside by the live build: a fact could not be applied.")

    async def look(self) -> None:
        """Bring the metrics up to date."""
        try:
            statuses = await self._statuses()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            since = time.monotonic() - self._asked
        else:
            since = 0.0
            self._asked = time.monotonic()
            self._known = [status for status in statuses if status.state == "live"]
        for status in self._known:
            self._facts.labels(status.name).set(status.head - status.applied)
            self._seconds.labels(status.name).set(status.lag_seconds + since)
            self._age.labels(status.name).set(status.heartbeat_age + since)
            self._parked.labels(status.name).set(status.parked_streams)


class Following:
    """What the followers of the log in one process do, and whether each of them still turns."""

    def __init__(self, registry: CollectorRegistry, tracing: Tracing | None = None) -> None:
        self._tracing = tracing or Tracing()
        self._applied = Counter(
            "myevents_facts_applied_total", "Facts applied, all builds counted.", ("model",), registry=registry
        )
        self._irregular = Counter(
            "myevents_log_irregularities_total",
            "What Kafka was found to do: facts repeated, holes, malformed records, facts filled in from the store.",
            ("kind",),
            registry=registry,
        )
        for kind in IRREGULARITIES:
            self._irregular.labels(kind)
        self._turns: dict[str, float | None] = {}
        self._standing: dict[str, dict[Checkpoint, _Standing]] = {}

    def expect(self, *followers: str) -> None:
        """Those are about to begin."""
        self._turns |= dict.fromkeys(followers)

    def applied(self, follower: str, model: str, facts: int, traceparents: Iterable[str], begun: int) -> None:
        """Count facts, and tell the traces that they belong to; `begun` in ns of the clock."""
        self._applied.labels(model).inc(facts)
        told: Attributes = {"myevents.model": model, "myevents.facts": facts}
        self._tracing.took_on(f"apply {model}", traceparents, told, begun)
        self.turned(follower)

    def irregular(self, kind: str, number: int) -> None:
        """Count what should not be in Kafka's log."""
        self._irregular.labels(kind).inc(number)

    def turned(self, follower: str) -> None:
        """It has looked at the log, and has done what there was to do."""
        self._turns[follower] = time.monotonic()

    def stands(self, follower: str, checkpoints: Mapping[Checkpoint, tuple[int, int]]) -> None:
        """It begins another turn with those checkpoints, each with its seq and that of the last fact to apply."""
        now, before = time.monotonic(), self._standing.get(follower, {})
        standing = dict[Checkpoint, _Standing]()
        for checkpoint, (seq, head) in checkpoints.items():
            if seq < head:
                same = (old := before.get(checkpoint)) is not None and old.seq == seq
                standing[checkpoint] = _Standing(seq, old.since, True) if old and same else _Standing(seq, now, False)
        self._standing[follower] = standing

    async def amiss(self) -> str | None:
        """Which of them do not turn, or which checkpoints stand still while facts wait; None where all is well."""
        now = time.monotonic()
        stuck = [name for name, at in self._turns.items() if at is None or now - at > STUCK]
        if stuck:
            return f"does not follow the log: {', '.join(stuck)}"
        still = sorted(
            f"{model} {partition}:{standing.seq}"
            for checkpoints in self._standing.values()
            for (model, _, partition), standing in checkpoints.items()
            if standing.through_a_turn and now - standing.since > STUCK
        )
        return f"does not advance: {', '.join(still)}" if still else None
