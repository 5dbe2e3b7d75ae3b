"""What a cache does, whatever keeps it. What is in it may be gone at any time, and nothing is decided by it.

No call raises for a server that is away, slow or full: such a cache knows nothing and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

ENTRY_LIMIT: Final = 256 * 1024
"""Bytes of a value; larger ones are not kept."""


class Cache(Protocol):
    """Values and counters under keys; keys and values are any bytes."""

    async def get(self, key: bytes) -> bytes | None:
        """The value, while it is kept."""

    async def set(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep a value of at most `ENTRY_LIMIT` bytes for `ttl` seconds at most."""

    async def claim(self, key: bytes, ttl: float) -> bool:
        """Tell one caller in `ttl` seconds, of all who share the cache, that the work at `key` is theirs.

        Several may be told so where the cache is not there: a claim saves work, and keeps nobody out.
        """

    async def count(self, key: bytes, window: float) -> float:
        """Count one more at `key`; how many came in about the last `window` seconds, this one included."""

    async def count_each(self, keys: Sequence[bytes], window: float, more: int = 1) -> list[float]:
        """Count `more` at each of the keys, as `count` does, in one call."""

    async def close(self) -> None:
        """Let go of connections."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How often each outcome came about: hit, miss, store, error..."""
