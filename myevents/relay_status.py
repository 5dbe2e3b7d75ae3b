"""What a relay tells of itself, in plain numbers."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class RelayStatus(Struct, frozen=True, kw_only=True):
    """As of now; everything by partition is of those that this relay leads, but for `sent`."""

    relay: str
    """Its name, which no other relay has."""
    partitions: int
    """How many the log has."""
    connected: bool
    """Whether it speaks to Kafka and to the database."""
    leads: tuple[int, ...]
    sent: Mapping[int, int]
    """Facts that Kafka has acknowledged to this process since it was started."""
    lag_facts: Mapping[int, int]
    """Facts of the log that Kafka has not acknowledged."""
    lag_seconds: float
    """How long ago the oldest of those was first seen, to about a second, 0 where there is none; how long it has not
    been connected, where it is not."""
    differences: Mapping[int, int]
    """Facts that the last audit of a partition found missing or altered in Kafka."""
    audited_at: float | None
    """When the last audit of all led partitions ended, in seconds since 1970; None before the first."""
