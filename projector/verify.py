"""Holds the log and the read models against what is promised of them; tells every breach in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec

from myevents.log.port import Log
from myevents.log.store import GapInLog
from projector.fold import Folded
from projector.model import Connection
from schema.facts import RecordedFact
from schema.read_models import BookingRow, EventRow, LocationRow


async def verify(*, log: Log, pool: asyncpg.Pool) -> list[str]:
    """Every breach found, none on a healthy system. Reads as of one moment per model: best while nothing is booked."""
    problems: list[str] = []
    folded, versions = Folded(), dict[str, int]()
    heads = await log.heads()
    for partition, head in sorted(heads.items()):
        problems += await _partition(log, partition, head, folded, versions)
    problems += [f"The log does not fold: {reason}." for reason in folded.unfit.values()]
    async with pool.acquire(timeout=5) as connection:
        problems += await _models(connection, folded)
        problems += await _checkpoints(connection, heads)
    problems += [
        f"Event {row.id} has {row.seats_booked} seats booked of {row.capacity}."
        for row in folded.events.values()
        if row.seats_booked > row.capacity
    ]
    return problems


async def _partition(log: Log, partition: int, head: int, folded: Folded, versions: dict[str, int]) -> list[str]:
    """Fold a partition up to its head, checking that neither seqs nor versions have gaps."""
    problems: list[str] = []
    seq = 0
    while seq < head:
        try:
            facts = await log.read(partition, seq, min(5000, head - seq))
        except GapInLog as gap:
            return [*problems, f"The log has a gap: {gap}."]
        if not facts:
            return [*problems, f"Partition {partition} ends at {seq}, but its head is {head}."]
        for fact in facts:
            expected = versions.get(fact.stream_id, 0) + 1
            if fact.version != expected:
                problems.append(f"Stream {fact.stream_id} goes from version {expected - 1} to {fact.version}.")
            versions[fact.stream_id] = fact.version
            if not isinstance(fact, RecordedFact):
                problems.append(f"Fact {partition}:{fact.seq} cannot be read: {fact.reason}.")
        folded.take(fact for fact in facts if isinstance(fact, RecordedFact))
        seq = facts[-1].seq
    if await log.read(partition, head, 1) and (await log.heads())[partition] == head:
        problems.append(f"Partition {partition} has facts beyond its head {head}.")
    return problems


async def _models(connection: Connection, folded: Folded) -> list[str]:
    return [
        *await _rows(connection, "events", EventRow, folded.placed()),
        *await _rows(connection, "locations", LocationRow, folded.locations),
        *await _rows(connection, "bookings", BookingRow, folded.bookings),
    ]


async def _rows(connection: Connection, view: str, kind: type[Any], expected: Mapping[str, Any]) -> list[str]:
    rows = await connection.fetch(f"select id, to_jsonb(t) from read.{view} t")
    found = {row[0]: msgspec.json.decode(row[1], type=kind) for row in rows}
    problems = [f"{view} lacks {missing}." for missing in sorted(expected.keys() - found.keys())]
    problems += [f"{view} has {extra}, which the log does not." for extra in sorted(found.keys() - expected.keys())]
    for key in sorted(expected.keys() & found.keys()):
        if expected[key] != found[key]:
            wrong = [
                name for name in kind.__struct_fields__ if getattr(expected[key], name) != getattr(found[key], name)
            ]
            problems.append(f"{view} {key} differs from the log in {', '.join(wrong)}.")
    return problems


async def _checkpoints(connection: Connection, heads: Mapping[int, int]) -> list[str]:
    rows = await connection.fetch(
        """select model, partition, seq from read.checkpoints join read.builds using (model, build)
           where state = 'live' order by 1, 2"""
    )
    behind = [
        f"{row[0]} has come to {row[1]}:{row[2]}, the log to {heads[row[1]]}." for row in rows if row[2] < heads[row[1]]
    ]
    parked = await connection.fetch("select model, stream_id, reason from read.parked_streams order by 1, 2")
    return behind + [f"{row[0]} has parked {row[1]}: {row[2]}." for row in parked]
