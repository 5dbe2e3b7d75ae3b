"""Reads from the read models' views: one statement an answer, with a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from myevents.model_status import ModelStatus, model_statuses
from query.cursors import Cursors
from query.paging import Listing, Page, Window
from query.versions import Versions
from schema.read_models import BookingRow, EventRow, LocationRow

DEADLINE: Final = 2.0
"""Seconds a statement may take."""

Row = TypeVar("Row", EventRow, LocationRow, BookingRow)
_DIALECT: Final = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]


class Reads:
    """The read models, for those who ask."""

    def __init__(self, pool: asyncpg.Pool, cursors: Cursors) -> None:
        self._pool = pool
        self.versions = Versions(lambda statement: pool.fetch(statement))
        self.cursors = cursors

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
        """A page of a list."""
        rows = await self._fetch(listing.page(window, self.cursors))
        return listing.slice([msgspec.json.decode(row[0], type=kind) for row in rows], window, self.cursors)

    async def count(self, listing: Listing) -> int:
        """How long a list is, counted up to 10,000."""
        rows = await self._fetch(listing.count())
        count: int = rows[0][0]
        return count

    async def statuses(self) -> list[ModelStatus]:
        """Every build of every model."""
        return await model_statuses(self._pool, timeout=DEADLINE)

    async def applied(self, model: str, partition: int) -> int:
        """The seq that the live build of `model` has come to."""
        seq: int | None = await self._pool.fetchval(
            """select seq from read.checkpoints join read.builds using (model, build)
               where model = $1 and state = 'live' and partition = $2""",
            model,
            partition,
            timeout=DEADLINE,
        )
        return seq or 0

    async def _by_id(self, view: str, kind: type[Row], ids: Sequence[str]) -> list[Row]:
        rows = await self._pool.fetch(
            f"select to_jsonb(t) from read.{view} t where id = any($1::text[])", list(ids), timeout=DEADLINE
        )
        return [msgspec.json.decode(row[0], type=kind) for row in rows]

    async def _fetch(self, statement: sa.Select[Any]) -> list[asyncpg.Record]:
        compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        values = [compiled.params[name] for name in compiled.positiontup or ()]
        return list(await self._pool.fetch(str(compiled), *values, timeout=DEADLINE))
