"""An oracle that shares no code with the models' folds: plain SQL over the facts' JSON, held against the tables.

It finds what a wrong fold hides, since that writes the rows and checks them alike; and what no row shows any more,
such as seats that were oversold only for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from projector import audit_sql as sql
from projector.model import Connection

AUDITED: Final = dict.fromkeys(
    (
        *("LocationCreated", "LocationChanged", "HallAdded", "HallChanged", "HallRemoved"),
        *("EventCreated", "EventChanged", "EventPublished", "EventRescheduled", "EventMoved", "CapacityChanged"),
        *("EventCancelled", "SeatsBooked", "BookingCancelled"),
    ),
    1,
)
"""The facts that the SQL reads, and the schema version of each; one that is new must be added to it."""

_SHOWN: Final = 100
_SECONDS: Final = 600.0

_JSON: Final = frozenset({"halls", "location", "ticket_types", "lines"})

_LOCATION: Final = (
    *("name", "address", "city", "country", "latitude", "longitude", "open_time", "close_time", "halls", "version"),
)
_EVENT: Final = (
    *("name", "description", "url", "topics", "seats_per_person", "status", "starts_at", "ends_at", "time_zone"),
    *("online", "capacity", "seats_booked", "seats_available", "ticket_types", "organizer_id", "location_id"),
    *("hall_id", "location", "city", "country", "latitude", "longitude", "created_at", "updated_at", "version"),
)
_BOOKING: Final = ("event_id", "user_id", "status", "seats", "lines", "created_at", "updated_at", "version")


class _Table(Struct, frozen=True):
    """A read model's table, the SQL that reckons its rows from the facts, where that has them, and the columns."""

    name: str
    reckoned: str
    rows: str
    columns: tuple[str, ...]


_TABLES: Final = {
    "events": (
        _Table("events", f"{sql.LOCATIONS}, {sql.EVENTS}", "event_rows", _EVENT),
        _Table("event_locations", sql.LOCATIONS, "place_rows", ("location",)),
    ),
    "locations": (_Table("locations", sql.LOCATIONS, "location_rows", _LOCATION),),
    "bookings": (_Table("bookings", sql.BOOKINGS, "booking_rows", _BOOKING),),
}


async def audit(connection: Connection, builds: Sequence[tuple[str, int]]) -> list[str]:
    """What is wrong in the log, and in those builds of those models; inside the caller's transaction."""
    # New tables have no statistics yet, and one loop inside another over all facts takes hours: join by hash instead.
    await connection.execute("set local enable_nestloop = off; set local work_mem = '64MB'")
    problems: list[str] = []
    for statement in (sql.OVERSOLD, sql.MISBOOKED, sql.AFTER_THE_END, sql.MISPLACED):
        problems += await _sentences(connection, f"select * from ({statement}) as found limit {_SHOWN}")
    for model, build in builds:
        for table in _TABLES[model]:
            problems += await _sentences(connection, _differences(table, build), model, build)
    return problems


async def _sentences(connection: Connection, statement: str, *arguments: object) -> list[str]:
    try:
        async with connection.transaction():
            rows = await connection.fetch(statement, *arguments, timeout=_SECONDS)
    except asyncpg.DataError as error:
        # A fact whose JSON is not what its type says: told by name elsewhere, where it could not be read.
        return [f"The audit cannot read the facts: {error}."]
    return [f"{row[0]}, says the audit." for row in rows]


def _differences(table: _Table, build: int) -> str:
    """Sentences on the rows that the facts do not bear out, at most 100 of them."""
    ours, theirs = ([_column(side, name) for name in table.columns] for side in ("e", "r"))
    wrong = ", ".join(
        f"case when {our} is distinct from {their} then '{name}' end"
        for name, our, their in zip(table.columns, ours, theirs, strict=True)
    )
    # The events model keeps a place for a location that is named before its facts have come.
    where = "where location is not null" if table.name == "event_locations" else ""
    return f"""with {sql.APPLIED}, {table.reckoned}, r as (select * from read.{table.name}_{build:d} {where})
        select case when r.id is null then format('{table.name} lacks %s', e.id)
          when e.id is null then format('{table.name} has %s, which the facts do not', r.id)
          else format('{table.name} %s is wrong in %s', r.id, array_to_string(array[{wrong}], ', ')) end
        from {table.rows} e full join r on r.id = e.id
        where e.id is null or r.id is null or row({", ".join(ours)}) is distinct from row({", ".join(theirs)})
        order by 1 limit {_SHOWN}"""


def _column(side: str, name: str) -> str:
    """A column to compare; in JSON, null is what is not there."""
    return f"jsonb_strip_nulls({side}.{name})" if name in _JSON else f"{side}.{name}"


def audited_columns() -> set[tuple[str, str]]:
    """What is reckoned from the facts, as (table, column)."""
    return {(table.name, column) for tables in _TABLES.values() for table in tables for column in table.columns}
