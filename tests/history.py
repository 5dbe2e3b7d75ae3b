"""Facts put into the log as they are, past all decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from schema import codec
from schema.facts import Fact, Metadata, RecordedFact
from schema.ids import partition_of
from schema.tables import PARTITIONS

RECORDED_AT = datetime(2027, 1, 1, tzinfo=UTC)


def numbered(history: Sequence[tuple[str, Fact]]) -> list[RecordedFact]:
    """Facts of streams, in order, with their places in an empty log; each recorded a second after the one before."""
    heads, versions = Counter[int](), Counter[str]()
    facts = []
    for number, (stream, fact) in enumerate(history):
        partition = partition_of(stream, PARTITIONS)
        heads[partition] += 1
        versions[stream] += 1
        facts.append(
            RecordedFact(
                partition=partition,
                seq=heads[partition],
                stream_id=stream,
                version=versions[stream],
                fact=fact,
                metadata=Metadata(command_id="cmd_history"),
                recorded_at=RECORDED_AT + timedelta(seconds=number),
            )
        )
    return facts


async def record(database_url: str, history: Sequence[tuple[str, Fact]]) -> list[RecordedFact]:
    """Put a history into an empty log."""
    facts = numbered(history)
    rows = [
        (
            fact.partition,
            fact.seq,
            fact.stream_id,
            fact.version,
            codec.type_name(fact.fact),
            1,
            codec.encode(fact.fact).decode(),
            codec.encode(fact.metadata).decode(),
            fact.recorded_at,
        )
        for fact in facts
    ]
    owner = await asyncpg.connect(database_url)
    async with owner.transaction():
        await owner.copy_records_to_table("facts", records=rows)
        await owner.execute(
            "update heads h set seq = n.seq from (select partition, max(seq) as seq from facts group by 1) n"
            " where n.partition = h.partition"
        )
    await owner.close()
    return facts
