"""A cache in Redis, shared by processes. A server that is away costs its callers a moment, then nothing.

Every command has a deadline. After some that failed in a row nobody asks any more; one caller at a time looks whether
the server is back, after a pause that grows and differs between processes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from myevents.cache.memory import MemoryCache
from myevents.cache.port import ENTRY_LIMIT
from myevents.cache.windows import estimate, window_of
from myevents.errors import SettingsError

DEADLINE: Final = 0.05
"""Seconds a command may take."""

CONNECTING: Final = 0.25
"""Seconds that making a connection may take, TLS and password included."""

_CONNECTIONS: Final = 32
_FAILURES: Final = 3
_SHORTEST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 5.0

_log = structlog.get_logger()
_Result = TypeVar("_Result")
_Other = TypeVar("_Other")


class RedisCache:
    """What is kept goes under `prefix`. Where the server does not answer, counters are this process's own."""

    def __init__(self, url: str, prefix: bytes = b"myevents:") -> None:
        try:
            pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=DEADLINE,
                socket_timeout=DEADLINE,
                socket_connect_timeout=CONNECTING,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                driver_info=None,
            )
        except ValueError as error:
            raise SettingsError(f"MYEVENTS_CACHE_URL cannot be used: {error}.") from None
        self._redis = Redis.from_pool(pool)
        self._prefix = prefix
        self._here = MemoryCache(0, time.time)
        self._circuit = _Circuit()
        self.outcomes: Counter[str] = Counter()

    async def get(self, key: bytes) -> bytes | None:
        """The value, while it is kept and the server answers."""
        found = await self._asked(lambda: self._redis.get(self._prefix + key), False)
        if isinstance(found, bytes):
            self.outcomes["hit"] += 1
            return found
        self.outcomes["miss"] += found is None
        return None

    async def set(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep a value, where the server answers and has room."""
        if len(value) > ENTRY_LIMIT:
            self.outcomes["too_large"] += 1
        elif await self._asked(lambda: self._redis.set(self._prefix + key, value, px=_ms(ttl)), None):
            self.outcomes["store"] += 1

    async def claim(self, key: bytes, ttl: float) -> bool:
        """Whether the work is the caller's; it is everybody's where the server does not answer."""
        return bool(await self._asked(lambda: self._redis.set(self._prefix + key, b"", nx=True, px=_ms(ttl)), True))

    async def count(self, key: bytes, window: float) -> float:
        """Count one more, among all processes; in this one alone where the server does not answer."""
        return (await self.count_each((key,), window))[0]

    async def count_each(self, keys: Sequence[bytes], window: float, more: int = 1) -> list[float]:
        """Count `more` at each of the keys, in one round trip."""
        number, to_come = window_of(time.time(), window)
        here = await self._here.count_each(keys, window, more)

        async def counted() -> list[int | bytes | None]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for counter in (self._prefix + key for key in keys):
                    pipeline.incrby(counter + b":%d" % number, more)
                    pipeline.pexpire(counter + b":%d" % number, _ms(2 * window))
                    pipeline.get(counter + b":%d" % (number - 1))
                answers: list[int | bytes | None] = await pipeline.execute()
                return answers

        answers = await self._asked(counted, None)
        if answers is None:
            return here
        pairs = zip(answers[2::3], answers[0::3], strict=True)
        return [estimate(int(before or 0), int(current or 0), to_come) for before, current in pairs]

    async def close(self) -> None:
        """Hang up."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    @property
    def answers(self) -> bool:
        """Whether the server is believed to answer."""
        return not self._circuit.open

    async def _asked(self, ask: Callable[[], Awaitable[_Result]], otherwise: _Other) -> _Result | _Other:
        if not self._circuit.lets_by():
            self.outcomes["away"] += 1
            return otherwise
        try:
            async with asyncio.timeout(CONNECTING + DEADLINE):
                answer = await ask()
        except ResponseError as error:
            # It is there: full, or a replica, or not ours to write.
            self._failed(error)
            self._circuit.worked()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            self._circuit.failed()
        except BaseException:
            self._circuit.given_up()
            raise
        else:
            self._circuit.worked()
            return answer
        return otherwise

    def _failed(self, error: Exception) -> None:
        self.outcomes["error"] += 1
        if not self._circuit.open:
            _log.warning("cache_failed", reason=type(error).__name__)


class _Circuit:
    """Closed while a server answers. Open after some failures: then one try at a time, after a pause."""

    def __init__(self) -> None:
        self._failures = 0
        self._next_try = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether the server is taken to be away."""
        return self._failures >= _FAILURES

    def lets_by(self) -> bool:
        """Whether the caller may ask the server."""
        if not self.open:
            return True
        if self._trying or time.monotonic() < self._next_try:
            return False
        self._trying = True
        return True

    def worked(self) -> None:
        """The server answered."""
        if self.open:
            _log.info("cache_is_back")
        self._failures, self._trying = 0, False

    def failed(self) -> None:
        """It did not. Those who still waited when it was taken to be away tell nothing new."""
        if self.open and not self._trying:
            return
        self._failures, self._trying = self._failures + 1, False
        pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(max(0, self._failures - _FAILURES), 10))
        self._next_try = time.monotonic() + random.uniform(0.5, 1.0) * pause

    def given_up(self) -> None:
        """The caller went away before there was an answer."""
        self._trying = False


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
