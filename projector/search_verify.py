"""Holds the search index against a fold of the log."""

from __future__ import annotations

import asyncpg
from msgspec import Struct

from myevents.log.port import Log
from myevents.search.port import SearchBuilds
from projector.fold import EventsFold
from projector.model import UnfitFact
from projector.search import NAME, alone
from schema.facts import RecordedFact
from schema.read_models import EventRow


async def verify_search(*, log: Log, pool: asyncpg.Pool, builds: SearchBuilds) -> list[str]:
    """Every breach found, none on a healthy system. As of one moment: the index stands still only to be read."""
    async with alone(pool) as connection:
        index = await builds.live()
        await index.refresh()
        checkpoints, found = await index.checkpoints(), await index.all_events()
        rows = await connection.fetch("select stream_id, reason from read.parked_streams where model = $1", NAME)
    parked = {row[0]: row[1] for row in rows}
    fold = EventsFold()
    for partition, head in sorted(checkpoints.items()):
        seq = 0
        while seq < head:
            facts = await log.read(partition, seq, min(5000, head - seq))
            if not facts:
                return [f"The search index has come to {partition}:{head}, the log ends at {partition}:{seq}."]
            for fact in facts:
                if isinstance(fact, RecordedFact) and fact.stream_id not in parked:
                    try:
                        fold.take(fact)
                    except UnfitFact as error:
                        return [f"The log does not fold: {error}."]
            seq = facts[-1].seq
    expected = fold.tables()["events"]
    problems = [f"search has parked {stream}: {reason}." for stream, reason in sorted(parked.items())]
    for key in sorted((expected.keys() | found.keys()) - parked.keys()):
        problems += _breach(key, expected.get(key), found.get(key))
    return problems


def _breach(key: str, expected: Struct | None, found: EventRow | None) -> list[str]:
    if expected == found:
        return []
    if expected is None or found is None:
        return [f"search lacks {key}." if found is None else f"search has {key}, which the log does not."]
    wrong = [name for name in expected.__struct_fields__ if getattr(expected, name) != getattr(found, name)]
    return [f"search event {key} differs from the log in {', '.join(wrong)}."]
