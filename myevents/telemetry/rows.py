"""Rows that cannot be served: left out of what is answered, counted, and named in the log once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter

Made = TypeVar("Made")

_IDS_LOGGED: Final = 1_000
_INVALID_VALUE: Final = (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, LookupError)
_log = structlog.get_logger()


class RowsLeftOut:
    """Counts what one process leaves out; without a registry nobody else sees the count."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._count = Counter(
            "myevents_query_rows_left_out_total",
            "Stored rows that answers were given without, holding what cannot be served; kind value: a null instead.",
            ("kind",),
            registry=registry,
        )
        self._logged: set[str] = set()

    def make(self, kind: str, row_id: Callable[[], object], make: Callable[[], Made]) -> Made | None:
        """Return what `make` makes of a stored row; None, and count it, where its values do not allow that."""
        try:
            return make()
        except _INVALID_VALUE as error:
            self.count(kind, row_id(), error)
            return None

    def count(self, kind: str, row_id: object, error: Exception) -> None:
        """Count a row; log its id the first time, never its values."""
        self._count.labels(kind).inc()
        name = str(row_id)[:64]
        if name not in self._logged and len(self._logged) < _IDS_LOGGED:
            self._logged.add(name)
            _log.warning("row_left_out", kind=kind, id=name, reason=type(error).__name__)
