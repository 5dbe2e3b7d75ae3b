"""Keeps what was computed of long texts, so that an event that changes in other fields is not analysed again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from myevents.search.words import indexed

CACHE_BYTES: Final = 32 * 1024 * 1024
"""Bytes of texts and of what was computed of them, at most, in a process."""

SHORT_CHARACTERS: Final = 300
"""Characters of a text that is analysed as fast as it is found in the cache."""

_WIDEST_CHARACTER_BYTES: Final = 4


class TextCache:
    """The results of `compute` for the texts that were used last. Threads may share it."""

    def __init__(self, compute: Callable[[str], str], *, max_bytes: int = CACHE_BYTES) -> None:
        self._compute = compute
        self._max_bytes = max_bytes
        self._results: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __call__(self, text: str) -> str:
        """Return what `compute` returns for `text`."""
        if len(text) <= SHORT_CHARACTERS:
            return self._compute(text)
        with self._lock:
            if text in self._results:
                self._results.move_to_end(text)
                return self._results[text]
        result = self._compute(text)
        with self._lock:
            self._store(text, result)
        return result

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._results.clear()
            self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """Return how many bytes the cached texts and results have at most."""
        return self._bytes

    def _store(self, text: str, result: str) -> None:
        if text not in self._results:
            self._bytes += _size_bytes(text, result)
        self._results[text] = result
        while self._bytes > self._max_bytes:
            self._bytes -= _size_bytes(*self._results.popitem(last=False))


def _size_bytes(text: str, result: str) -> int:
    return _WIDEST_CHARACTER_BYTES * (len(text) + len(result))


indexed_once: Final = TextCache(indexed)
"""`indexed`, whose results for long texts are kept."""
