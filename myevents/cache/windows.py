"""Counting what came in the last seconds with two numbers: those of this window, and of the one before."""

from __future__ import annotations


def window_of(now: float, window: float) -> tuple[int, float]:
    """The number of the window of `window` seconds that `now` is in, and the part of it that is still to come."""
    number, passed = divmod(now, window)
    return int(number), 1.0 - passed / window


def estimate(before: int, current: int, to_come: float) -> float:
    """How many came in the last window's length, as if those of the window before had come evenly."""
    return current + before * to_come
