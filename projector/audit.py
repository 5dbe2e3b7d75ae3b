"""An oracle that shares no code with the models' folds: plain SQL over the facts' JSON, held against the tables.

It finds what a wrong fold hides, since that writes the rows and checks them alike; and what no row shows any more,
such as seats that were oversold only for a while.

Facts and rows may be in two databases. Each reckons a hash of every row, in order of id, and the two are held against
each other as they come: so there is never more than a handful of them in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
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
_AHEAD: Final = 5000
"""Rows fetched at once."""


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


class Audited(Struct, frozen=True):
    """A build, the seq of each partition that it has come to, and that of each parked stream where it stopped."""

    model: str
    build: int
    checkpoints: Mapping[int, int]
    parked: Mapping[str, int]


class _Sides(Struct, frozen=True):
    """The facts and the rows that are held against each other, each in a transaction of its own."""

    store: Connection
    reads: Connection


async def audit(store: Connection, reads: Connection, builds: Sequence[Audited]) -> list[str]:
    """What is wrong in the log, and in those builds; inside the caller's transactions in both databases."""
    for connection in (store, reads):
        # New tables have no statistics, and one loop inside another over all facts takes hours: join by hash instead.
        await connection.execute("set local enable_nestloop = off; set local work_mem = '64MB'")
    problems: list[str] = []
    for statement in (sql.OVERSOLD, sql.MISBOOKED, sql.AFTER_THE_END, sql.MISPLACED):
        problems += await _sentences(store, f"select * from ({statement}) as found limit {_SHOWN}")
    for build in builds:
        for table in _TABLES[build.model]:
            problems += await _differences(_Sides(store, reads), table, build)
    return [f"{problem}, says the audit." for problem in problems]


async def _sentences(store: Connection, statement: str) -> list[str]:
    try:
        async with store.transaction():
            return [row[0] for row in await store.fetch(statement, timeout=_SECONDS)]
    except asyncpg.DataError as error:
        # A fact whose JSON is not what its type says: told by name elsewhere, where it could not be read.
        return [_unreadable(error)]


def _unreadable(error: asyncpg.DataError) -> str:
    return f"The facts cannot be read ({error})"


async def _differences(sides: _Sides, table: _Table, build: Audited) -> list[str]:
    """Sentences on the rows that the facts do not bear out, at most 100 of them."""
    facts = (
        list(build.checkpoints),
        list(build.checkpoints.values()),
        list(build.parked),
        list(build.parked.values()),
    )
    reckoned = f"with {sql.APPLIED}, {table.reckoned} select id, %s from {table.rows} e"
    # The events model keeps a place for a location that is named before its facts have come.
    where = "where location is not null" if table.name == "event_locations" else "where true"
    written = f"select id, %s from read.{table.name}_{build.build:d} e {where}"
    try:
        async with sides.store.transaction():
            wrong = await _wrong(_hashes(sides.store, reckoned, table, facts), _hashes(sides.reads, written, table, ()))
            if not wrong:
                return []
            ours = await _by_column(sides.store, f"{reckoned} where id = any($5)", table, (*facts, wrong))
    except asyncpg.DataError as error:
        return [_unreadable(error)]
    theirs = await _by_column(sides.reads, f"{written} and id = any($1)", table, (wrong,))
    return sorted(_told(table, key, ours.get(key), theirs.get(key)) for key in wrong)


def _told(table: _Table, key: str, ours: Sequence[int] | None, theirs: Sequence[int] | None) -> str:
    if theirs is None:
        return f"{table.name} lacks {key}"
    if ours is None:
        return f"{table.name} has {key}, which the facts do not"
    wrong = [name for name, our, their in zip(table.columns, ours, theirs, strict=True) if our != their]
    return f"{table.name} {key} is wrong in {', '.join(wrong)}"


async def _hashes(
    connection: Connection, statement: str, table: _Table, arguments: tuple[object, ...]
) -> AsyncIterator[tuple[str, int]]:
    """Each row's id, in order of its code points, and a hash of its columns that is the same for what is equal."""
    hashed = f"hash_record_extended(row({', '.join(map(_column, table.columns))}), 0)"
    ordered = f'{statement % hashed} order by id collate "C"'
    async for row in connection.cursor(ordered, *arguments, prefetch=_AHEAD, timeout=_SECONDS):
        yield row[0], row[1]


async def _by_column(
    connection: Connection, statement: str, table: _Table, arguments: tuple[object, ...]
) -> dict[str, list[int]]:
    hashed = ", ".join(f"hash_record_extended(row({_column(name)}), 0)" for name in table.columns)
    rows = await connection.fetch(statement % f"array[{hashed}]", *arguments, timeout=_SECONDS)
    return {row[0]: row[1] for row in rows}


async def _wrong(ours: AsyncIterator[tuple[str, int]], theirs: AsyncIterator[tuple[str, int]]) -> list[str]:
    """The ids, at most 100, of what is not on both sides, or not alike."""
    wrong: list[str] = []
    one, other = await anext(ours, None), await anext(theirs, None)
    while (one or other) and len(wrong) < _SHOWN:
        if one == other:
            one, other = await anext(ours, None), await anext(theirs, None)
        elif other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            wrong.append(one[0])
            one = await anext(ours, None)
        elif one is None or other[0] < one[0]:
            wrong.append(other[0])
            other = await anext(theirs, None)
        else:
            wrong.append(one[0])
            one, other = await anext(ours, None), await anext(theirs, None)
    return wrong


def _column(name: str) -> str:
    """A column to compare; in JSON, null is what is not there."""
    return f"jsonb_strip_nulls(e.{name})" if name in _JSON else f"e.{name}"


def audited_columns() -> set[tuple[str, str]]:
    """What is reckoned from the facts, as (table, column)."""
    return {(table.name, column) for tables in _TABLES.values() for table in tables for column in table.columns}
