"""Writes the served SDL to `schema/query.graphql`: `python -m query.graphql.sdl`."""

from __future__ import annotations

from pathlib import Path

from query.graphql.endpoint import schema

PATH = Path(__file__).parents[2] / "schema" / "query.graphql"


def sdl() -> str:
    """What /graphql serves."""
    return f"{schema.as_str()}\n"


if __name__ == "__main__":
    PATH.write_text(sdl(), encoding="utf-8")
