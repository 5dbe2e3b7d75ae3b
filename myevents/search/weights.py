"""How much a match counts. All are multiples of 1/8, which floats of every engine add without rounding."""

from __future__ import annotations

from typing import Final

FIELDS: Final = {"name": 8.0, "topics": 6.0, "place": 4.0, "date": 2.0, "description": 1.0}
"""A word as typed, by the field that has it; the best field counts."""

FORGIVING: Final = frozenset({"name", "topics", "place"})
"""The fields in which typing errors are forgiven: in long texts and in dates too much is near everything."""

BEGUN: Final = 0.75
"""The share of a word that only begins as typed."""

MISSPELT: Final = 0.5
"""The share of a word that is only near the one typed."""

WHOLE_NAME: Final = 16.0
"""More for an event whose whole name was typed."""

IN_A_ROW: Final = 4.0
"""More for a name that has all the words side by side, in their order."""
