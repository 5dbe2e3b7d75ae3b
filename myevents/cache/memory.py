"""A cache in this process: bounded in bytes, what was used last is kept longest."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from myevents.cache.port import ENTRY_LIMIT
from myevents.cache.windows import estimate, window_of

_OVERHEAD: Final = 250
"""Bytes that an entry takes beside its key and value, roughly."""

_MOST_COUNTERS: Final = 100_000


class MemoryCache:
    """Of `size` bytes. `clock` gives seconds."""

    def __init__(self, size: int = 64 * 1024 * 1024, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._held = 0
        self._counters: OrderedDict[bytes, tuple[int, int, int]] = OrderedDict()
        self.outcomes: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Bytes that are kept, roughly; never more than the size."""
        return self._held

    async def get(self, key: bytes) -> bytes | None:
        """The value, while it is kept."""
        found = self.look(key)
        self.outcomes["miss" if found is None else "hit"] += 1
        return found

    def look(self, key: bytes) -> bytes | None:
        """The value, while it is kept: for those who count themselves."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry[1]

    async def set(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep a value, and let go of those that were not used for longest."""
        self._drop(key)
        cost = _cost(key, value)
        if len(value) > ENTRY_LIMIT or cost > self._size:
            self.outcomes["too_large"] += 1
            return
        self._entries[key] = (self._clock() + ttl, value)
        self._held += cost
        self.outcomes["store"] += 1
        while self._held > self._size:
            self._drop(next(iter(self._entries)))

    async def claim(self, key: bytes, ttl: float) -> bool:
        """Whether nobody has claimed the key in the last `ttl` seconds."""
        if self.look(key) is not None:
            return False
        await self.set(key, b"", ttl)
        return True

    async def count(self, key: bytes, window: float) -> float:
        """Count one more; what was not counted for longest is forgotten where there are too many keys."""
        return self._count(key, window, 1)

    async def count_each(self, keys: Sequence[bytes], window: float, more: int = 1) -> list[float]:
        """Count `more` at each of the keys."""
        return [self._count(key, window, more) for key in keys]

    def _count(self, key: bytes, window: float, more: int) -> float:
        number, to_come = window_of(self._clock(), window)
        at, before, current = self._counters.get(key, (number, 0, 0))
        if at != number:
            before, current = (current if at == number - 1 else 0), 0
        self._counters[key] = (number, before, current + more)
        self._counters.move_to_end(key)
        if len(self._counters) > _MOST_COUNTERS:
            self._counters.popitem(last=False)
        return estimate(before, current + more, to_come)

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._counters.clear()
        self._held = 0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._held -= _cost(key, entry[1])


def _cost(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD
