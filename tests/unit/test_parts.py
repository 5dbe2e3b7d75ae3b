"""The parts of a longer run, one after another and side by side: what CI and `make check` are made of."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "parts.sh"


def run(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """What a script says that has the parts."""
    script = directory / "script"
    script.write_text(f"set -euo pipefail\n. {SCRIPT}\ntrap parts_table EXIT\n{text}")
    return subprocess.run(
        ["bash", script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_each_part_is_shown_in_one_piece_and_all_are_in_the_table(tmp_path: Path) -> None:
    # `fetch` cannot end before `build` has begun, so they do run side by side.
    done = run(
        """
        fetch() { echo fetching; until [ -e built ]; do sleep 0.05; done; echo fetched; }
        begin "what is fetched" fetch
        part build touch built
        finish "what is fetched"
        part last echo done
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said, _, table = done.stdout.partition("== the seconds that each part took")
    assert "== what is fetched\nfetching\nfetched\n-- what is fetched: " in said
    assert [line.split(" s  ")[1] for line in table.splitlines()[1:]] == ["build", "what is fetched", "last", "in all"]


def test_a_part_that_fails_at_any_of_its_steps_fails_the_run_once_those_beside_it_are_shown(tmp_path: Path) -> None:
    done = run(
        """
        broken() { echo before; false; echo after; }
        begin broken broken
        begin whole echo whole
        finish broken whole
        part never echo never
        """,
        tmp_path,
    )
    assert done.returncode == 1
    assert "Failed: broken" in done.stderr
    assert "== whole\nwhole\n" in done.stdout
    assert "after" not in done.stdout
    assert "never" not in done.stdout
    assert " s  broken" in done.stdout


def test_a_run_that_fails_stops_what_it_began_with_all_that_this_started(tmp_path: Path) -> None:
    done = run(
        """
        waits() { sh -c 'echo $$ > pid; exec sleep 600'; }
        begin waits waits
        until [ -s pid ]; do sleep 0.05; done
        part broken false
        """,
        tmp_path,
    )
    assert done.returncode == 1
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 20
    with suppress(FileNotFoundError, ProcessLookupError):
        # One that has ended and that nobody has waited for has no command line.
        while Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < end, "it goes on"
            time.sleep(0.05)
