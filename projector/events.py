"""The read model of events: everything a page shows of one, its location and seats included, in one row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

import msgspec
from msgspec.structs import replace

from projector import locations
from projector.model import Connection, UnfitFact, follows, load, upsert
from schema.facts import (
    BookingCancelled,
    CapacityChanged,
    EventCancelled,
    EventChanged,
    EventCreated,
    EventDetails,
    EventMoved,
    EventPublished,
    EventRescheduled,
    Line,
    LocationFact,
    RecordedFact,
    SeatsBooked,
    TicketType,
)
from schema.folding import fold as folded
from schema.read_models import EventRow, LocationRow, TicketTypeRow


def fold(row: EventRow | None, recorded: RecordedFact) -> EventRow:
    """The event's row after one more fact, its location left as it was; raises `UnfitFact`."""
    follows(row.version if row else 0, recorded)
    fact = recorded.fact
    if isinstance(fact, LocationFact):
        raise UnfitFact(recorded, "it is no fact of an event")
    if isinstance(fact, EventCreated):
        return _created(recorded, fact)
    if row is None:
        raise UnfitFact(recorded, "there is no such event")
    row = replace(row, version=recorded.version, updated_at=recorded.recorded_at)
    match fact:
        case SeatsBooked():
            return _counted(row, fact.lines, 1)
        case BookingCancelled():
            return _counted(row, fact.lines, -1)
        case EventChanged():
            return replace(row, **_details(fact.details))
        case EventPublished():
            return replace(row, status="PUBLISHED")
        case EventRescheduled():
            return replace(row, starts_at=fact.starts_at.astimezone(UTC), ends_at=fact.ends_at.astimezone(UTC))
        case EventMoved():
            return replace(row, location_id=fact.location_id, hall_id=fact.hall_id)
        case CapacityChanged():
            booked = {kind.ticket_type_id: kind.seats_booked for kind in row.ticket_types}
            kinds = tuple(_ticket_type(kind, booked.get(kind.ticket_type_id, 0)) for kind in fact.ticket_types)
            left = fact.capacity - row.seats_booked
            return replace(row, capacity=fact.capacity, ticket_types=kinds, seats_available=left)
        case EventCancelled():
            kinds = tuple(replace(kind, seats_booked=0) for kind in row.ticket_types)
            return replace(row, status="CANCELLED", seats_booked=0, seats_available=0, ticket_types=kinds)


def placed(row: EventRow, location: LocationRow | None) -> EventRow:
    """The row with its location as it is now; None while its facts have not come."""
    return replace(
        row,
        location=location,
        city=location.city if location else None,
        country=location.country if location else None,
        latitude=location.latitude if location else None,
        longitude=location.longitude if location else None,
    )


class Events:
    """One row an event."""

    name = "events"
    version = 1

    async def apply(self, connection: Connection, build: int, facts: Sequence[RecordedFact]) -> None:
        """Fold each event's facts into its row, and each location's into the rows of its events.

        A location and its events live in partitions of their own, applied at once by whomever: so the location's
        row in `event_locations` is locked first, whether it comes, changes or is only taken over.
        """
        known = await self._locations(connection, build, facts)
        changed: set[str] = set()
        ours = {fact.stream_id for fact in facts if fact.stream_id.startswith("evt_")}
        rows = await load(connection, f"events_{build:d}", EventRow, ours)
        for recorded in facts:
            stream = recorded.stream_id
            if stream.startswith("loc_"):
                known[stream] = locations.fold(known.get(stream), recorded)
                changed.add(stream)
                continue
            row = fold(rows.get(stream), recorded)
            if isinstance(recorded.fact, EventCreated | EventMoved):
                row = placed(row, known.get(row.location_id) if row.location_id else None)
            rows[stream] = row
        await upsert(connection, f"events_{build:d}", list(rows.values()))
        moved = [location for stream in sorted(changed) if (location := known[stream]) is not None]
        if moved:
            await self._embed(connection, build, moved)

    async def forget(self, connection: Connection, build: int, stream_id: str) -> None:
        """Delete the event's row, or what the events' rows are given of a location."""
        await connection.execute(f"delete from read.events_{build:d} where id = $1", stream_id)
        await connection.execute(f"update read.event_locations_{build:d} set location = null where id = $1", stream_id)

    async def _locations(
        self, connection: Connection, build: int, facts: Sequence[RecordedFact]
    ) -> dict[str, LocationRow | None]:
        ids = {fact.stream_id for fact in facts if fact.stream_id.startswith("loc_")}
        for recorded in facts:
            if isinstance(recorded.fact, EventCreated | EventMoved) and recorded.fact.location_id is not None:
                ids.add(recorded.fact.location_id)
        if not ids:
            return {}
        table = f"read.event_locations_{build:d}"
        await connection.execute(
            f"insert into {table} (id) select id from unnest($1::text[]) as id order by id on conflict do nothing",
            sorted(ids),
        )
        rows = await connection.fetch(
            f"select id, location from {table} where id = any($1) order by id for update", sorted(ids)
        )
        return {row[0]: msgspec.json.decode(row[1], type=LocationRow) if row[1] else None for row in rows}

    async def _embed(self, connection: Connection, build: int, moved: list[LocationRow]) -> None:
        ids = [location.id for location in moved]
        values = [msgspec.json.encode(location).decode() for location in moved]
        await connection.execute(
            f"update read.event_locations_{build:d} t set location = n.location"
            " from unnest($1::text[], $2::jsonb[]) as n (id, location) where t.id = n.id",
            ids,
            values,
        )
        # Locked in order of id first, as every other writer of these rows does.
        table = f"read.events_{build:d}"
        await connection.execute(f"select 1 from {table} where location_id = any($1) order by id for update", ids)
        await connection.execute(
            f"""update {table} t set location = n.location, city = n.location ->> 'city',
                  country = n.location ->> 'country', latitude = (n.location ->> 'latitude')::float,
                  longitude = (n.location ->> 'longitude')::float
                from unnest($1::text[], $2::jsonb[]) as n (id, location) where t.location_id = n.id""",
            ids,
            values,
        )


def _created(recorded: RecordedFact, fact: EventCreated) -> EventRow:
    return EventRow(
        id=recorded.stream_id,
        **_details(fact.details),
        status="DRAFT",
        # An offset may carry a time beyond the year 9999, where no row can be read: that is an error of the fact.
        starts_at=fact.starts_at.astimezone(UTC),
        ends_at=fact.ends_at.astimezone(UTC),
        time_zone=fact.time_zone,
        online=fact.online,
        capacity=fact.capacity,
        seats_booked=0,
        seats_available=fact.capacity,
        ticket_types=tuple(_ticket_type(kind, 0) for kind in fact.ticket_types),
        organizer_id=fact.organizer_id,
        location_id=fact.location_id,
        hall_id=fact.hall_id,
        location=None,
        city=None,
        country=None,
        latitude=None,
        longitude=None,
        created_at=recorded.recorded_at,
        updated_at=recorded.recorded_at,
        version=recorded.version,
    )


def _details(details: EventDetails) -> dict[str, Any]:
    return msgspec.structs.asdict(details) | {"name_folded": folded(details.name)}


def _ticket_type(kind: TicketType, booked: int) -> TicketTypeRow:
    return TicketTypeRow(**msgspec.structs.asdict(kind), seats_booked=booked)


def _counted(row: EventRow, lines: Sequence[Line], sign: int) -> EventRow:
    seats = {line.ticket_type_id: 0 for line in lines}
    for line in lines:
        seats[line.ticket_type_id] += sign * line.seats
    kinds = tuple(
        replace(kind, seats_booked=kind.seats_booked + seats.get(kind.ticket_type_id, 0)) for kind in row.ticket_types
    )
    booked = row.seats_booked + sum(seats.values())
    return replace(row, seats_booked=booked, seats_available=row.capacity - booked, ticket_types=kinds)
