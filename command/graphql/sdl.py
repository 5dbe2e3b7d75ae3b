"""Writes the served SDL to `schema/command.graphql`: `python -m command.graphql.sdl`."""

from __future__ import annotations

from pathlib import Path

from command.graphql.endpoint import schema

PATH = Path(__file__).parents[2] / "schema" / "command.graphql"


def sdl() -> str:
    """What /command serves."""
    return f"{schema.as_str()}\n"


if __name__ == "__main__":
    PATH.write_text(sdl(), encoding="utf-8")
