"""The errors by which a fact or a row is known to be at fault, and not a connection or our own code."""

from __future__ import annotations

from typing import Final

import asyncpg
import msgspec

from projector.model import UnfitFact

FOLD_FAULTS: Final = (UnfitFact, msgspec.MsgspecError, ArithmeticError, ValueError)
"""A fact that does not follow, a row that cannot be decoded, a number or time beyond what there is."""

AT_FAULT: Final = (
    *FOLD_FAULTS,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    # A text that no index takes, a JSON document that is too large.
    asyncpg.ProgramLimitExceededError,
)
"""Raised again however often the fact is tried: its stream is parked. Whatever else is raised may pass by itself."""


def reason_of(error: Exception) -> str:
    """Why a fact cannot be applied, without a database's or decoder's own words, which may repeat the values."""
    if isinstance(error, UnfitFact):
        return str(error)
    if isinstance(error, msgspec.MsgspecError):
        place = str(error).rpartition(" - at `")[2].rstrip("`") if " - at `" in str(error) else "its beginning"
        return f"a row cannot be read: {type(error).__name__} at {place}"
    return type(error).__name__
