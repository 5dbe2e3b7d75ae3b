"""Reads from the read models' views: one statement an answer, with a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from myevents.errors import ErrorCode, Refused
from myevents.model_status import ModelStatus, model_statuses
from myevents.telemetry.rows import RowsLeftOut
from query.cursors import Cursors
from query.paging import Listing, Page, Window
from query.sources import Reading, Sources
from query.versions import Versions
from schema.read_models import BookingRow, EventRow, LocationRow

GLANCE: Final = 0.5
"""Seconds that a look at a checkpoint may take: who waits for a position looks again and again."""

ROWS_BYTES: Final = 16 * 1024 * 1024
"""Bytes of rows, as JSON, that one request may read: what it shows of them is limited when the answer is there."""

Row = TypeVar("Row", EventRow, LocationRow, BookingRow)
_DIALECT: Final = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]


class Reads:
    """The read models, for those who ask; what cannot be read now raises `Refused` with OVERLOADED."""

    def __init__(
        self,
        sources: Sources,
        cursors: Cursors,
        reading: Reading | None = None,
        left_out: RowsLeftOut | None = None,
    ) -> None:
        self.sources = sources
        self.left_out = left_out or RowsLeftOut()
        self._reading = reading or sources.one()
        self.cursors = cursors
        self._bytes_left: float = float("inf")

    def of_request(self) -> Reads:
        """For one request, whose every statement and position asks the same server."""
        reads = Reads(self.sources, self.cursors, self.sources.one(), self.left_out)
        reads._bytes_left = ROWS_BYTES
        return reads

    @property
    def versions(self) -> Versions:
        """How new the read models are where this reads."""
        return self._reading.versions

    async def amiss(self) -> str | None:
        """Why queries cannot be answered; None where they can."""
        try:
            await self.sources.one().fetch("select 1 from read.events limit 1")
        except Refused:
            return "the read models cannot be read"
        return None if self.cursors.known else "the secret of cursors is not known yet"

    async def events(self, ids: Sequence[str]) -> dict[str, EventRow]:
        """Those events that there are."""
        return {row.id: row for row in await self._by_id("events", EventRow, ids)}

    async def locations(self, ids: Sequence[str]) -> dict[str, LocationRow]:
        """Those locations that there are."""
        return {row.id: row for row in await self._by_id("locations", LocationRow, ids)}

    async def bookings(self, ids: Sequence[str], user_id: str) -> dict[str, BookingRow]:
        """Those bookings that there are and that are the person's."""
        return {row.id: row for row in await self._by_id("bookings", BookingRow, ids) if row.user_id == user_id}

    async def page(self, listing: Listing, kind: type[Row], window: Window) -> Page[Row]:
        """A page of a list, without the rows that cannot be served."""
        rows = await self._fetch(listing.page(window, self.cursors))
        self._charge_rows(rows)
        return listing.slice([row[0] for row in rows], partial(self._decode, kind), window, self.cursors)

    async def count(self, listing: Listing) -> int:
        """How long a list is, counted up to 10,000."""
        rows = await self._fetch(listing.count())
        count: int = rows[0][0]
        return count

    async def statuses(self) -> list[ModelStatus]:
        """Every build of every model."""
        return await model_statuses(self._reading.fetch)

    async def applied(self, model: str, partition: int) -> int:
        """The seq that the live build of `model` has come to."""
        rows = await self._reading.fetch(
            """select seq from read.checkpoints join read.builds using (model, build)
               where model = $1 and state = 'live' and partition = $2""",
            model,
            partition,
            deadline=GLANCE,
        )
        return rows[0][0] if rows else 0

    async def _by_id(self, view: str, kind: type[Row], ids: Sequence[str]) -> list[Row]:
        rows = await self._reading.fetch(f"select to_jsonb(t) from read.{view} t where id = any($1::text[])", list(ids))
        self._charge_rows(rows)
        decoded = (self._decode(kind, row[0]) for row in rows)
        return [row for row in decoded if row is not None]

    def _charge_rows(self, rows: Sequence[asyncpg.Record]) -> None:
        """Count rows that were read; raises `Refused` where that is more than one request may read."""
        self.charge(sum(len(row[0]) for row in rows))

    def charge(self, size: int) -> None:
        """Count so many bytes; raises `Refused` where that is more than one request may read."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            message = f"The request reads more than {ROWS_BYTES // 1024**2} MiB: ask for fewer rows, or in parts."
            raise Refused(ErrorCode.INVALID_INPUT, message, ("first",))

    def _decode(self, kind: type[Row], text: str) -> Row | None:
        """Return the row; None, and count it, where a stored value is none that it can have."""
        return self.left_out.make(
            kind.__name__.removesuffix("Row"),
            lambda: msgspec.json.decode(text)["id"],
            lambda: msgspec.json.decode(text, type=kind),
        )

    async def _fetch(self, statement: sa.Select[Any]) -> list[asyncpg.Record]:
        compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        values = [compiled.params[name] for name in compiled.positiontup or ()]
        return await self._reading.fetch(str(compiled), *values)
