"""Following a log from outside: each new fact once, in its partition's order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from myevents.log.port import Log
from myevents.log.store import PASSING
from schema.facts import RecordedFact, UnreadableFact
from schema.ids import partition_of

POLL: Final = 0.5
"""Seconds between two looks at the log when no notice comes."""


async def tail(
    log: Log, *, stream: str | None = None, partition: int | None = None, from_start: bool = False
) -> AsyncIterator[RecordedFact | UnreadableFact]:
    """The facts of all partitions, or of one, or of one stream: those to come, or all from the first on."""
    if stream is not None:
        partition = partition_of(stream, log.partitions)
    followed = range(log.partitions) if partition is None else (partition,)
    reached = dict.fromkeys(followed, 0) if from_start else await log.heads()
    while True:
        facts: list[RecordedFact | UnreadableFact] = []
        try:
            heads = await log.heads()
            for number in followed:
                if reached[number] < heads[number]:
                    facts += await log.read(number, reached[number])
            if not facts:
                await log.changed(POLL)
        except PASSING:
            facts.clear()
            await asyncio.sleep(POLL)
        for fact in facts:
            reached[fact.partition] = fact.seq
            if stream is None or fact.stream_id == stream:
                yield fact
