"""The deployment files, and the programs that check them where `scripts/deployment_tools.sh` has built them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = {"command": 9101, "relay": 9102, "projector": 9103, "query": 9104}
"""What runs in production, and where each tells its metrics."""


def tool(name: str) -> str:
    """The program's path; the test is skipped where there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    built = Path(os.environ.get("SERVERS_CACHE") or Path(cache) / "myevents-servers") / "tools" / name
    found = str(built) if built.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}: scripts/deployment_tools.sh {name} builds it")
    return found


def run(*command: str) -> str:
    """What a program printed; it must end well."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


def read(path: str) -> str:
    """A file of the repository."""
    return (ROOT / path).read_text()
