"""An event's state as bytes and back, so that 100,000 bookings load in one read. Locations are short: no need."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import Final

import asyncpg
import structlog
from msgspec import MsgspecError, Struct, msgpack
from rpds import HashTrieMap

from command import streams
from command.event.state import Booking, EventState
from command.streams import State
from myevents import store
from myevents.store import Connection
from schema.facts import EventDetails, TicketType

SNAPSHOT_SCHEMA: Final = 1
"""Raised whenever the shape below changes: snapshots of another schema are not read."""

FIRST: Final = 1000
"""Facts of a stream before its first snapshot; the next ones come at twice the last one's facts and so many."""

_log = structlog.get_logger()


class EventSnapshot(Struct, frozen=True, array_like=True):
    """An event's state in plain values; what the bookings tell is counted again on loading."""

    version: int
    details: EventDetails | None
    starts_at: datetime | None
    ends_at: datetime | None
    location_id: str | None
    hall_id: str | None
    capacity: int
    ticket_types: tuple[TicketType, ...]
    published: bool
    cancelled: bool
    bookings: dict[str, Booking]


_decoder: Final = msgpack.Decoder(EventSnapshot)


def dump(state: EventState) -> bytes:
    """The snapshot of `state`."""
    return msgpack.encode(
        EventSnapshot(
            state.version,
            state.details,
            state.starts_at,
            state.ends_at,
            state.location_id,
            state.hall_id,
            state.capacity,
            state.ticket_types,
            state.published,
            state.cancelled,
            dict(state.bookings.items()),
        )
    )


def restore(data: bytes) -> EventState:
    """The state of which `data` is the snapshot; raises `MsgspecError` where it is none."""
    kept = _decoder.decode(data)
    seats_of: dict[str, int] = {}
    for booking in kept.bookings.values():
        seats_of[booking.user_id] = seats_of.get(booking.user_id, 0) + booking.seats
    return EventState(
        version=kept.version,
        details=kept.details,
        starts_at=kept.starts_at,
        ends_at=kept.ends_at,
        location_id=kept.location_id,
        hall_id=kept.hall_id,
        capacity=kept.capacity,
        ticket_types=kept.ticket_types,
        published=kept.published,
        cancelled=kept.cancelled,
        booked=sum(seats_of.values()),
        bookings=HashTrieMap(kept.bookings),
        seats_of=HashTrieMap(seats_of),
    )


async def load(connection: Connection, stream_id: str) -> State:
    """The stream's newest snapshot, its empty state where there is none that can be read."""
    if stream_id.startswith("loc_"):
        return streams.empty(stream_id)
    found = await store.snapshot(connection, stream_id, SNAPSHOT_SCHEMA)
    if found is None:
        return streams.empty(stream_id)
    try:
        return restore(found[1])
    except MsgspecError:
        return streams.empty(stream_id)


class Schedule:
    """Takes the snapshots of one partition's streams beside the rounds, one at a time."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._last: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def consider(self, states: dict[str, State]) -> None:
        """Begin a snapshot of the first stream that has grown enough, unless one is under way."""
        if self._task is not None and not self._task.done():
            return
        for stream_id, state in states.items():
            if isinstance(state, EventState) and state.version >= FIRST + 2 * self._last.get(stream_id, 0):
                self._last[stream_id] = state.version
                self._task = asyncio.create_task(self._take(stream_id, state))
                return

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _take(self, stream_id: str, state: EventState) -> None:
        data = await asyncio.to_thread(dump, state)
        try:
            async with self._pool.acquire(timeout=5) as connection:
                await store.save_snapshot(connection, stream_id, state.version, SNAPSHOT_SCHEMA, data)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            _log.warning("snapshot_not_saved", stream=stream_id)
