"""How many random cases a test tries: few in every run, many in `make soak`, which names a seed to begin from."""

from __future__ import annotations

import os
from typing import Final

SOAK_SEED: Final = os.environ.get("MYEVENTS_TEST_SOAK_SEED", "")
"""What `make soak` begins from; empty in every other run."""

SOAK_FACTOR: Final = 20
"""How many times more cases `make soak` tries."""


def cases(usual: int) -> int:
    """How many examples Hypothesis tries where a usual run tries `usual`."""
    return usual * SOAK_FACTOR if SOAK_SEED else usual


def seeds(usual: int) -> range:
    """The seeds of a test that makes its cases itself: always the same `usual` ones, except in a soak."""
    return range(int(SOAK_SEED), int(SOAK_SEED) + usual * SOAK_FACTOR) if SOAK_SEED else range(usual)
