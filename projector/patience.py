"""Trying again where several meet at a lock: a location and its events, a rebuild, a retry, the projector."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg

COLLISIONS: Final = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError, asyncpg.SerializationError)
Result = TypeVar("Result")


async def patiently(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do `work`, a whole transaction, again while it collides with others."""
    while True:
        try:
            return await work()
        except COLLISIONS:
            await asyncio.sleep(random.uniform(0.01, 0.2))
