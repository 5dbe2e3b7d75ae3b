"""Counts what a round did, once it is committed: many commands at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from command.event.state import EventState
from command.round import Accepted, Round, Submission
from myevents.errors import Refused, StoreUnavailable
from myevents.telemetry.commands import CommandMetrics
from schema.facts import SeatsBooked

ACCEPTED: Final = "accepted"
REPEATED: Final = "repeated"
"""Accepted before, under the same Idempotency-Key: nothing was recorded."""

UNAVAILABLE: Final = "STORE_UNAVAILABLE"
"""The database did not answer: whether the command was recorded is not known here."""

FAILED: Final = "FAILED"


def count_round(metrics: CommandMetrics, done: Round) -> None:
    """Count a round's outcomes and its bookings."""
    metrics.ended((type(s.command).__name__, _outcome(o, s in done.repeated)) for s, o in done.outcomes)
    booked: dict[str, Counter[int]] = {}
    for new in done.facts:
        if type(new.fact) is SeatsBooked:
            lines = new.fact.lines
            seats = lines[0].seats if len(lines) == 1 else sum(line.seats for line in lines)
            sizes = booked.get(new.stream_id)
            if sizes is None:
                sizes = booked[new.stream_id] = Counter()
            sizes[seats] += 1
    if booked:
        metrics.bookings.add(booked, lambda event_id: _name(done, event_id))


def count_refused(metrics: CommandMetrics, submissions: Iterable[Submission], error: Exception) -> None:
    """Count commands that came to no round's end, and why."""
    outcome = _outcome(error, repeated=False)
    metrics.ended((type(submission.command).__name__, outcome) for submission in submissions)


def _outcome(outcome: Accepted | Exception, repeated: bool) -> str:
    if isinstance(outcome, Accepted):
        return REPEATED if repeated else ACCEPTED
    if isinstance(outcome, Refused):
        return outcome.code.value
    return UNAVAILABLE if isinstance(outcome, StoreUnavailable) else FAILED


def _name(done: Round, event_id: str) -> str:
    state = done.states[event_id]
    return state.details.name if isinstance(state, EventState) and state.details else event_id
