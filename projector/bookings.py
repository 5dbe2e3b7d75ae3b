"""The read model of bookings."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from projector.model import Connection, UnfitFact, load, upsert
from schema.facts import BookingCancelled, EventCancelled, RecordedFact, SeatsBooked
from schema.read_models import BookingRow

CONFIRMED = "CONFIRMED"
CANCELLED = "CANCELLED"


def booked(recorded: RecordedFact, fact: SeatsBooked) -> BookingRow:
    """The row of a new booking."""
    return BookingRow(
        id=fact.booking_id,
        event_id=recorded.stream_id,
        user_id=fact.user_id,
        status=CONFIRMED,
        seats=sum(line.seats for line in fact.lines),
        lines=fact.lines,
        created_at=recorded.recorded_at,
        updated_at=recorded.recorded_at,
        version=recorded.version,
    )


def cancelled(row: BookingRow | None, recorded: RecordedFact) -> BookingRow:
    """The row of a booking that has ended; raises `UnfitFact` where there is none."""
    if row is None or row.status != CONFIRMED:
        raise UnfitFact(recorded, "there is no such booking to cancel")
    return replace(row, status=CANCELLED, updated_at=recorded.recorded_at, version=recorded.version)


class Bookings:
    """One row a booking, also after it has ended."""

    name = "bookings"
    version = 1

    async def apply(self, connection: Connection, build: int, facts: Sequence[RecordedFact]) -> None:
        """Fold each booking's facts into its row; an event's end is that of all its bookings."""
        table = f"bookings_{build:d}"
        ids = {fact.fact.booking_id for fact in facts if isinstance(fact.fact, SeatsBooked | BookingCancelled)}
        rows = await load(connection, table, BookingRow, ids)
        for recorded in facts:
            match recorded.fact:
                case SeatsBooked() as fact:
                    rows[fact.booking_id] = booked(recorded, fact)
                case BookingCancelled() as fact:
                    rows[fact.booking_id] = cancelled(rows.get(fact.booking_id), recorded)
                case EventCancelled():
                    await upsert(connection, table, list(rows.values()))
                    await self._end_all(connection, table, recorded)
                    rows = await load(connection, table, BookingRow, ids)
                case _:
                    pass
        await upsert(connection, table, list(rows.values()))

    async def _end_all(self, connection: Connection, table: str, recorded: RecordedFact) -> None:
        await connection.execute(
            f"update read.{table} set status = $2, updated_at = $3, version = $4 where event_id = $1 and status = $5",
            recorded.stream_id,
            CANCELLED,
            recorded.recorded_at,
            recorded.version,
            CONFIRMED,
        )

    async def forget(self, connection: Connection, build: int, stream_id: str) -> None:
        """Delete the rows of the event's bookings."""
        await connection.execute(f"delete from read.bookings_{build:d} where event_id = $1", stream_id)
