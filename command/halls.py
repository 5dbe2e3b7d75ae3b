"""The rules across streams: one event per hall and time, and no hall smaller than an event in it.

They are rows with constraints, written in the transaction of the facts that they guard.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg
from asyncpg import Range
from msgspec import Struct

from command.commands import HallOnOffer
from command.event.state import EventState
from command.location.state import LocationState
from myevents.errors import ErrorCode, Refused
from myevents.store import Connection
from schema.facts import (
    CapacityChanged,
    EventCancelled,
    EventCreated,
    EventMoved,
    EventRescheduled,
    Fact,
    Hall,
    HallAdded,
    HallChanged,
    HallRemoved,
    LocationCreated,
)

_TAKEN = Refused(ErrorCode.HALL_TAKEN, "Another event has the hall at that time.", ("input", "hallId"))


class Offer(Struct, frozen=True):
    """A new hall."""

    location_id: str
    hall: Hall


class Resize(Struct, frozen=True):
    """A hall's new capacity."""

    hall: Hall


class Withdraw(Struct, frozen=True):
    """The end of a hall."""

    hall_id: str


class Take(Struct, frozen=True):
    """An event's hall, seats and time; `anew` where it may have one already."""

    event_id: str
    hall_id: str
    capacity: int
    during: Range[datetime]
    anew: bool = False


class Leave(Struct, frozen=True):
    """An event gives up its hall."""

    event_id: str


Claim = Offer | Resize | Withdraw | Take | Leave


def claims(stream_id: str, facts: Sequence[Fact], after: EventState | LocationState) -> list[Claim]:
    """What the rules across streams must agree to before `facts` may stand; `after` is the state with them."""
    found: list[Claim] = []
    for fact in facts:
        match fact:
            case LocationCreated():
                found.extend(Offer(stream_id, hall) for hall in fact.halls)
            case HallAdded():
                found.append(Offer(stream_id, fact.hall))
            case HallChanged():
                found.append(Resize(fact.hall))
            case HallRemoved():
                found.append(Withdraw(fact.hall_id))
            case EventCreated() | EventMoved() | EventRescheduled() | CapacityChanged():
                if isinstance(after, EventState) and after.hall_id is not None:
                    during = Range(after.starts_at, after.ends_at)
                    anew = not isinstance(fact, EventCreated)
                    found.append(Take(stream_id, after.hall_id, after.capacity, during, anew))
            case EventCancelled():
                found.append(Leave(stream_id))
            case _:
                pass
    return found


async def lock(connection: Connection, shared: Collection[str], alone: Collection[str]) -> dict[str, HallOnOffer]:
    """The halls of those ids that there are; until the transaction ends nobody resizes or withdraws them."""
    await connection.fetch(
        "select 1 from halls where hall_id = any($1) order by hall_id for no key update", sorted(alone)
    ) if alone else None
    if not shared:
        return {}
    rows = await connection.fetch(
        "select hall_id, location_id, capacity from halls where hall_id = any($1) order by hall_id for share",
        sorted(shared),
    )
    return {row[0]: HallOnOffer(hall_id=row[0], location_id=row[1], capacity=row[2]) for row in rows}


async def settle(connection: Connection, wanted: Sequence[list[Claim]]) -> list[Refused | None]:
    """Write the claims of several commands; for each None, or why it cannot be (then nothing of it is written)."""
    new = [claim for claims in wanted for claim in claims if isinstance(claim, Take) and not claim.anew]
    taken = await _take(connection, new) if new else set()
    verdicts: list[Refused | None] = []
    for claims in wanted:
        verdict = None
        for claim in claims:
            if isinstance(claim, Take) and not claim.anew:
                verdict = None if claim.event_id in taken else _TAKEN
            else:
                verdict = await _settle(connection, claim)
            if verdict is not None:
                break
        verdicts.append(verdict)
    return verdicts


async def _take(connection: Connection, claims: Sequence[Take]) -> set[str]:
    """Those events that got their hall; a conflict takes no row and aborts nothing."""
    rows = await connection.fetch(
        """insert into hall_events (event_id, hall_id, capacity, during)
           select * from unnest($1::text[], $2::text[], $3::int[], $4::tstzrange[])
           on conflict do nothing returning event_id""",
        [claim.event_id for claim in claims],
        [claim.hall_id for claim in claims],
        [claim.capacity for claim in claims],
        [claim.during for claim in claims],
    )
    return {row[0] for row in rows}


async def _settle(connection: Connection, claim: Claim) -> Refused | None:
    match claim:
        case Offer():
            await connection.execute(
                "insert into halls (hall_id, location_id, capacity) values ($1, $2, $3)",
                claim.hall.hall_id,
                claim.location_id,
                claim.hall.capacity,
            )
            return None
        case Resize():
            return await _resize(connection, claim.hall)
        case Withdraw():
            return await _withdraw(connection, claim.hall_id)
        case Leave():
            await connection.execute("delete from hall_events where event_id = $1", claim.event_id)
            return None
        case Take():
            return await _retake(connection, claim)


async def _resize(connection: Connection, hall: Hall) -> Refused | None:
    largest = await connection.fetchval("select max(capacity) from hall_events where hall_id = $1", hall.hall_id)
    if largest is not None and hall.capacity < largest:
        message = f"An event in the hall has {largest} seats."
        return Refused(ErrorCode.CAPACITY_BELOW_BOOKED, message, ("input", "capacity"))
    await connection.execute("update halls set capacity = $2 where hall_id = $1", hall.hall_id, hall.capacity)
    return None


async def _withdraw(connection: Connection, hall_id: str) -> Refused | None:
    if await connection.fetchval("select exists (select 1 from hall_events where hall_id = $1)", hall_id):
        return Refused(ErrorCode.CONFLICT, "The hall has events: move or cancel them first.", ("hallId",))
    await connection.execute("delete from halls where hall_id = $1", hall_id)
    return None


async def _retake(connection: Connection, claim: Take) -> Refused | None:
    """Change what an event has of a hall, or give it one where it was online only.

    In a savepoint: other than a new row, a changed one cannot pass over a conflict.
    """
    try:
        async with connection.transaction():
            await connection.execute(
                """insert into hall_events (event_id, hall_id, capacity, during) values ($1, $2, $3, $4)
                   on conflict (event_id) do update
                   set hall_id = excluded.hall_id, capacity = excluded.capacity, during = excluded.during""",
                claim.event_id,
                claim.hall_id,
                claim.capacity,
                claim.during,
            )
    except asyncpg.ExclusionViolationError:
        return _TAKEN
    return None
