"""How text becomes words, the same for what is indexed and for what is asked, whatever the engine."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from msgspec import Struct

from schema.folding import fold

LONGEST: Final = 64
"""Characters of a word that are looked at."""

MOST: Final = 20
"""Words of a search."""

TEXT_CHARACTERS: Final = 20_000
"""Characters of a text that are indexed, before it is folded and after: twice what a description may have.

Folding makes some characters up to 18 of one, those of ordinary text one or two.
"""

PHRASE_WORDS: Final = 100
"""Words of a phrase of a search; 200 plain characters have no more."""

CJK: Final = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Ideographs and kana, in a pattern's brackets. They stand alone as words: such text has no spaces."""

# A match begins where a word does and gives nothing back, so that a text is read once, whatever is in it.
JOINED: Final = re.compile(r"(?<![^\W_])[^\W_]++(?:[.\-'\u2019&][^\W_]++)++")
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
    return _split(fold(text))


def indexed(text: str) -> str:
    """The words of `text` with spaces between; what a point or a hyphen joins is found joined too, as nodejs.

    Of a text that folds to more than `TEXT_CHARACTERS` the beginning is indexed. An event that was indexed before
    this limit has all of such a text in the index until its next fact.
    """
    folded = _fold(text)
    joined = ["".join(re.findall(r"\w+", found))[:LONGEST] for found in JOINED.findall(folded)]
    return " ".join([*_split(folded), *joined])


def asked(text: str) -> Asked:
    """What `text` asks for; of it are taken `MOST` words and as many phrases, of these `PHRASE_WORDS` words each."""
    quoted = (_split(_fold(piece), PHRASE_WORDS) for piece in _QUOTED.findall(text))
    phrases = tuple(tuple(found) for found in quoted if found)
    single = _split(_fold(_QUOTED.sub(" ", text)), MOST)
    return Asked(tuple(single), phrases[:MOST], not text.rstrip().endswith('"'))


def forgiven(word: str) -> int:
    """How many typing errors a word may have: none up to 3 letters, one up to 7, else two."""
    return 0 if len(word) <= 3 else 1 if len(word) <= 7 else 2


def _fold(text: str) -> str:
    return fold(text[:TEXT_CHARACTERS], most=TEXT_CHARACTERS)


def _split(folded: str, most: int | None = None) -> list[str]:
    found = _WORD.finditer(folded.replace("_", " "))
    return [match[0][:LONGEST] for match in islice(found, most)]
