"""Values that facts and read models share. Frozen; in JSON their names are in camel case."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from msgspec import Struct


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False, rename="camel"):
    """An immutable value whose JSON names are in camel case."""


class Hall(Record, frozen=True, kw_only=True):
    """A room of a location; `capacity` in seats."""

    hall_id: str
    name: str
    location: str | None = None
    capacity: int


class Money(Record, frozen=True, kw_only=True):
    """An exact amount in an ISO 4217 currency; in JSON the amount is a string."""

    amount: Decimal
    currency: str


class TicketType(Record, frozen=True, kw_only=True):
    """A kind of ticket of an event, with its own price, seats and time of sale (UTC)."""

    ticket_type_id: str
    name: str
    price: Money | None = None
    capacity: int
    sales_start_at: datetime | None = None
    sales_end_at: datetime | None = None


class Line(Record, frozen=True, kw_only=True):
    """So many seats of one ticket type."""

    ticket_type_id: str
    seats: int
