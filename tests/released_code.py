"""The release before this one, as it was: its packages out of the history, to run beside those of the worktree."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

RELEASE_BEFORE: Final = "876c110"
"""The commit of the release that must be able to run beside this one, on the same database."""

_ROOT: Final = Path(__file__).parent.parent
_GIT_TIMEOUT_SECONDS: Final = 60


def released_code(directory: Path) -> dict[str, str]:
    """Extract the release before to `directory`; return the settings that let a process run it.

    Where the history is not there (an archive of the sources, a shallow clone) the test is skipped, but fails in CI.
    """
    packages = ("command", "migrations", "myevents", "projector", "query", "schema")
    archive = subprocess.run(
        ["git", "archive", "--format=tar", RELEASE_BEFORE, *packages],
        cwd=_ROOT,
        capture_output=True,
        timeout=_GIT_TIMEOUT_SECONDS,
        check=False,
    )
    if archive.returncode != 0:
        reason = f"the history has no {RELEASE_BEFORE}: {archive.stderr.decode(errors='replace').strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(directory, filter="data")
    return {"PYTHONPATH": str(directory)}
