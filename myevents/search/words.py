"""How text becomes words, the same for what is indexed and for what is asked, whatever the engine."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from schema.folding import fold

LONGEST: Final = 64
"""Characters of a word that are looked at."""

MOST: Final = 20
"""Words of a search."""

CJK: Final = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Ideographs and kana, in a pattern's brackets. They stand alone as words: such text has no spaces."""

JOINED: Final = re.compile(r"[^\W_]+(?:[.\-'\u2019&][^\W_]+)+")
"""Words that a point, a hyphen, an apostrophe or an ampersand joins."""

# C++ and C# keep what tells them from C.
_WORD: Final = re.compile(rf"[{CJK}]|[^\W{CJK}]+[+#]*")
_QUOTED: Final = re.compile(r'"([^"]*)"')


class Asked(Struct, frozen=True):
    """What a search asks for: words, the last perhaps only begun, and phrases, whose words stand side by side."""

    words: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...] = ()
    open_ended: bool = True

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing."""
        return not self.words and not self.phrases


def words(text: str) -> list[str]:
    """The folded words of `text`, in order."""
    return [word[:LONGEST] for word in _WORD.findall(fold(text).replace("_", " "))]


def indexed(text: str) -> str:
    """The words of `text` with spaces between; what a point or a hyphen joins is found joined too, as nodejs."""
    folded = fold(text)
    joined = ["".join(re.findall(r"\w+", found))[:LONGEST] for found in JOINED.findall(folded)]
    return " ".join([*words(text), *joined])


def asked(text: str) -> Asked:
    """What `text` asks for; at most `MOST` words of it are taken."""
    phrases = tuple(tuple(found) for quoted in _QUOTED.findall(text) if (found := words(quoted)))
    rest = _QUOTED.sub(" ", text)
    single = tuple(words(rest))[:MOST]
    return Asked(single, phrases[:MOST], not text.rstrip().endswith('"'))


def forgiven(word: str) -> int:
    """How many typing errors a word may have: none up to 3 letters, one up to 7, else two."""
    return 0 if len(word) <= 3 else 1 if len(word) <= 7 else 2
