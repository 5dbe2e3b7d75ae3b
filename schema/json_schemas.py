"""The JSON Schema of every fact, in `schema/json/`: `python -m schema.json_schemas` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from schema.facts import FACT_TYPES, SCHEMA_VERSIONS

DIRECTORY: Final = Path(__file__).parent / "json"


def fact_schemas() -> dict[str, str]:
    """The text of each fact's schema, by the file's name: `SeatsBooked.1.json`."""
    encoded = {
        f"{name}.{SCHEMA_VERSIONS[name]}.json": msgspec.json.encode(msgspec.json.schema(kind), order="deterministic")
        for name, kind in FACT_TYPES.items()
    }
    return {name: msgspec.json.format(text, indent=2).decode() + "\n" for name, text in encoded.items()}


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in fact_schemas().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")
