"""How text is folded before it is indexed, compared or searched: the same everywhere, whatever the engine."""

from __future__ import annotations

import unicodedata
from itertools import filterfalse
from typing import Final

# Letters that Unicode does not take apart, as their ASCII spelling (case-folded).
_LETTERS: Final = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "\u0131": "i",
        "ħ": "h",
        "ŋ": "n",
        "ŧ": "t",
    }
)


_DECOMPOSED: Final = 4
"""Characters that one of ordinary text is taken apart into at most, as a Greek vowel with three marks is."""


def fold(text: str, *, most: int | None = None) -> str:
    """`text` without case, accents and width: NFKD, marks dropped, case folded, and letters like ø as o.

    Takes time in proportion to the text, and returns the first `most` characters. Without `most` the folded text may
    have 18 times as many characters as `text`.
    """
    if text.isascii():
        return text[:most].lower()
    # NFKD sorts each run of marks by insertion, which is quadratic: marks that are dropped anyway go before it.
    decomposed = unicodedata.normalize("NFKD", _without_marks(text.casefold()))
    if most is not None:
        decomposed = decomposed[: _DECOMPOSED * most]
    folded = unicodedata.normalize("NFKC", _without_marks(decomposed).casefold()).translate(_LETTERS)
    return folded[:most]


def _without_marks(text: str) -> str:
    return "".join(filterfalse(unicodedata.combining, text))
