"""How many random cases a run tries, and from which seeds."""

from __future__ import annotations

import importlib

import pytest

from tests import random_cases


def test_a_usual_run_tries_the_same_few_cases_and_a_soak_many_more_from_its_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        monkeypatch.setenv("MYEVENTS_TEST_SOAK_SEED", "")
        usual = importlib.reload(random_cases)
        assert (usual.cases(15), usual.seeds(3)) == (15, range(3))
        monkeypatch.setenv("MYEVENTS_TEST_SOAK_SEED", "4000000000")
        soak = importlib.reload(random_cases)
        assert (soak.cases(15), soak.seeds(3)) == (300, range(4_000_000_000, 4_000_000_060))
    finally:
        monkeypatch.undo()
        importlib.reload(random_cases)
