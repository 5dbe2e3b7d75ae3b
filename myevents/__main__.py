"""`python -m myevents`: the command line."""

from __future__ import annotations

from myevents.cli import app

app()
