"""How text is folded before it is indexed, compared or searched: the same everywhere, whatever the engine."""

from __future__ import annotations

import unicodedata
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


def fold(text: str) -> str:
    """`text` without case, accents and width: NFKD, marks dropped, case folded, and letters like ø as o."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return unicodedata.normalize("NFKC", plain.casefold()).translate(_LETTERS)
