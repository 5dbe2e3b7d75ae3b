"""Keyset paging, both ways: one statement a page, whatever its depth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
import sqlalchemy as sa

from myevents.errors import ErrorCode, Refused
from query.cursors import Cursors

MOST: Final = 100
"""Rows of a page."""

USUAL: Final = 20
"""Rows of a page where the caller does not say."""

COUNTED: Final = 10_000
"""How far totals are counted."""

Row = TypeVar("Row")


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What part of a list is asked for."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    @property
    def size(self) -> int:
        """Rows asked for; raises `Refused` for too many, none, or both ends at once."""
        if self.first is not None and self.last is not None:
            raise Refused(ErrorCode.INVALID_INPUT, "Ask for first or for last, not for both.", ("last",))
        name, count = ("last", self.last) if self.last is not None else ("first", self.first)
        if count is None:
            return USUAL
        if not 1 <= count <= MOST:
            raise Refused(ErrorCode.INVALID_INPUT, f"It takes 1 to {MOST}.", (name,))
        return count


class Page(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """Rows in the list's order, a cursor for each; `start` and `end` are the page's, whether or not a row is there."""

    rows: Sequence[Row]
    cursors: Sequence[str]
    start: str | None
    end: str | None
    has_next: bool
    has_previous: bool


Halls = Literal["none", "own", "all"]
"""Which halls are read of a row's location: a location may have 200, which few ask for. `own`: where an event is."""


def row_json(table: str, halls: Halls) -> str:
    """Return the SQL expression of a row as JSON, with those halls alone."""
    whole = f"to_jsonb({table})"
    if halls == "all" or table == "bookings":
        return whole
    if table == "locations":
        return f"{whole} - 'halls'"
    if halls == "none":
        return f"{whole} #- '{{location,halls}}'"
    named = f"jsonb_build_object('id', {table}.hall_id)"
    found = f"jsonb_path_query_array({table}.location, '$.halls[*] ? (@.hallId == $id)', {named})"
    return f"jsonb_set({whole}, '{{location,halls}}', coalesce({found}, '[]'))"


def scope_of(name: str, *parts: object) -> str:
    """What a cursor is bound to: the list, its filter and its order."""
    return f"{name}:{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()}"


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A filtered, ordered list of a table's rows: by `column`, then by id. `scope` names filter and order."""

    table: sa.Table
    conditions: tuple[sa.ColumnElement[bool], ...]
    column: str
    descending: bool = False
    scope: str
    halls: Halls = "none"

    def count(self) -> sa.Select[Any]:
        """The statement that counts the rows, up to `COUNTED`."""
        some = sa.select(sa.literal(1)).select_from(self.table).where(*self.conditions).limit(COUNTED).subquery()
        return sa.select(sa.func.count()).select_from(some)

    def page(self, window: Window, cursors: Cursors) -> sa.Select[Any]:
        """The statement that reads a page and one row more, to see whether there is a next."""
        size, backwards = window.size, window.last is not None
        keys = (self.table.c[self.column], self.table.c.id)
        conditions = list(self.conditions)
        for name, cursor, beyond in (("after", window.after, True), ("before", window.before, False)):
            if cursor is not None:
                values = self._values(cursors.read(cursor, self.scope, name))
                larger = beyond != self.descending
                row, bound = sa.tuple_(*keys), sa.tuple_(*values)
                conditions.append(row > bound if larger else row < bound)
        down = self.descending != backwards
        order = [key.desc() if down else key.asc() for key in keys]
        return (
            sa.select(sa.literal_column(row_json(self.table.name, self.halls)))
            .select_from(self.table)
            .where(*conditions)
            .order_by(*order)
            .limit(size + 1)
        )

    def _values(self, values: list[Any]) -> tuple[sa.ColumnElement[Any], ...]:
        column = self.table.c[self.column]
        first = sa.cast(sa.literal(str(values[0]), sa.Text), column.type)
        return first, sa.literal(str(values[1]), sa.Text)

    def _keys_of(self, row: object) -> tuple[object, object]:
        return getattr(row, self.column), getattr(row, "id")  # noqa: B009

    def _keys(self, text: str) -> tuple[object, object]:
        """Return what a row is sorted by that cannot be decoded."""
        values = msgspec.json.decode(text)
        return values[self.column], values["id"]

    def slice(
        self, found: list[str], decode: Callable[[str], Row | None], window: Window, cursors: Cursors
    ) -> Page[Row]:
        """The page from what `page` read, as JSON, without the rows that `decode` makes nothing of."""
        size, backwards = window.size, window.last is not None
        more = len(found) > size
        found = found[:size]
        if backwards:
            found.reverse()
        rows: list[Row] = []
        made: list[str] = []
        start = end = None
        for text in found:
            row = decode(text)
            end = cursors.make(self.scope, self._keys(text) if row is None else self._keys_of(row))
            start = start or end
            if row is not None:
                rows.append(row)
                made.append(end)
        return Page(
            rows=rows,
            cursors=made,
            start=start,
            end=end,
            has_next=window.before is not None if backwards else more,
            has_previous=more if backwards else window.after is not None,
        )
