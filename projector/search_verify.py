"""Holds the search index against a fold of the log."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

import asyncpg
import msgspec
from msgspec import Struct

from myevents.errors import MyEventsError
from myevents.log.port import Log
from myevents.search.port import SearchBuilds
from projector.faults import FOLD_FAULTS
from projector.fold import EventsFold
from projector.model import UnfitFact
from projector.search_registry import UPKEEP_WAIT, alone, set_aside
from schema.facts import RecordedFact
from schema.read_models import EventRow

_UNREADABLE: Final = "search has a row that cannot be read: rebuild the index."


async def verify_search(*, log: Log, pool: asyncpg.Pool, builds: SearchBuilds) -> list[str]:
    """Every breach found, none on a healthy system. As of one moment: the index stands still only to be read.

    Its rows come in batches; the fold of the log is in memory.
    """
    folding = _Folding(log)
    try:
        # Most of the log is folded while the index goes on.
        async with alone(pool, wait=UPKEEP_WAIT) as connection:
            index = await builds.live()
            checkpoints, parked = await index.checkpoints(), await set_aside(connection)
        await folding.come_to(checkpoints, parked)
        async with alone(pool, wait=UPKEEP_WAIT) as connection:
            index = await builds.live()
            await index.refresh()
            checkpoints, parked = await index.checkpoints(), await set_aside(connection)
            await folding.come_to(checkpoints, parked)
            batches = index.in_order()
            rows: list[EventRow] = await anext(batches, [])
    except _Unfolded as error:
        return [str(error)]
    except msgspec.MsgspecError:
        return [_UNREADABLE]
    expected = folding.events()
    problems = dict[str, str]()
    try:
        while rows:
            for row in rows:
                problems |= _breach(row.id, expected.pop(row.id, None), row)
            rows = await anext(batches, [])
    except msgspec.MsgspecError:
        return [_UNREADABLE]
    for key, missing in expected.items():
        problems |= _breach(key, missing, None)
    told = [f"search has parked {stream}: {reason}." for stream, reason in sorted(parked.items())]
    return told + [problem for key, problem in sorted(problems.items()) if key not in parked]


class _Unfolded(MyEventsError):
    """The log cannot be what the index was filled from."""


class _Folding:
    """A fold of the log that is brought from one place of it to a later one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._fold = EventsFold()
        self._seqs: dict[int, int] = {}

    async def come_to(self, checkpoints: Mapping[int, int], parked: Container[str]) -> None:
        """Fold all facts up to `checkpoints` but those of parked streams; raises `_Unfolded`."""
        for partition, head in sorted(checkpoints.items()):
            seq = self._seqs.get(partition, 0)
            while seq < head:
                facts = await self._log.read(partition, seq, min(5000, head - seq))
                if not facts:
                    place = f"{partition}:{head}, the log ends at {partition}:{seq}"
                    raise _Unfolded(f"The search index has come to {place}.")
                for fact in facts:
                    if isinstance(fact, RecordedFact) and fact.stream_id not in parked:
                        self._take(fact)
                seq = facts[-1].seq
            self._seqs[partition] = seq

    def events(self) -> dict[str, Struct]:
        """The rows by id."""
        return dict(self._fold.tables()["events"])

    def _take(self, fact: RecordedFact) -> None:
        try:
            self._fold.take(fact)
        except FOLD_FAULTS as error:
            named = str(error) if isinstance(error, UnfitFact) else f"{fact.position} of {fact.stream_id}"
            raise _Unfolded(f"The log does not fold: {named}.") from error


def _breach(key: str, expected: Struct | None, found: EventRow | None) -> dict[str, str]:
    if expected == found:
        return {}
    if expected is None or found is None:
        return {key: f"search lacks {key}." if found is None else f"search has {key}, which the log does not."}
    wrong = [name for name in expected.__struct_fields__ if getattr(expected, name) != getattr(found, name)]
    return {key: f"search event {key} differs from the log in {', '.join(wrong)}."}
