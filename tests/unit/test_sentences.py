"""What is shown while the tests run says what is tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sentences import sentence_of

OUTCOMES = """
import pytest


def test_a_seat_is_sold_once():
    pass


@pytest.mark.parametrize("seats", [1, 2])
def test_a_full_hall_refuses(seats):
    assert seats == 1


@pytest.mark.skip(reason="no server")
def test_a_lost_server_comes_back():
    pass
"""


@pytest.mark.parametrize(
    ("nodeid", "sentence"),
    [
        ("tests/e2e/test_log_tail.py::test_it_shows_bookings", "e2e, log tail: it shows bookings"),
        ("tests/e2e/test_log_tail.py::test_it_shows_bookings@platform", "e2e, log tail: it shows bookings"),
        ("tests/unit/test_window.py::test_a_gap_waits[a@b-1]", "unit, window: a gap waits [a@b-1]"),
        ("tests/unit/test_window.py::test_a_gap_waits[1]@platform", "unit, window: a gap waits [1]"),
    ],
)
def test_the_id_of_a_test_is_shown_as_a_sentence(nodeid: str, sentence: str) -> None:
    assert sentence_of(nodeid) == sentence


@pytest.mark.parametrize("workers", ["0", "1"])
def test_each_test_that_ends_is_named_with_its_outcome(tmp_path: Path, workers: str) -> None:
    (tmp_path / "sales").mkdir()
    (tmp_path / "sales" / "test_halls.py").write_text(OUTCOMES)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "tests.sentences", "-n", workers]
    command += ["--rootdir", str(tmp_path), "--sentences", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = re.findall(r"^\[ *(\d+)%\] +[\d.]+ s +(.*)$", done.stdout, re.MULTILINE)
    assert [" ".join(said.split()) for _, said in lines] == [
        "sales, halls: a seat is sold once",
        "sales, halls: a full hall refuses [1]",
        "FAILED sales, halls: a full hall refuses [2]",
        "SKIPPED sales, halls: a lost server comes back",
    ], done.stdout + done.stderr
    assert [share for share, _ in lines] == ["25", "50", "75", "100"]
    # What CI looks for stays.
    assert "SKIPPED [1]" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 failed, 2 passed, 1 skipped in ")
