"""Forgets the answers kept under callers' keys once nobody can still be trying again."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Final

import asyncpg

from myevents import store

KEPT: Final = timedelta(days=7)
"""How long the same Idempotency-Key gets the same answer again."""

PAUSE: Final = 3600.0
"""Seconds between two looks, on the average: several processes look at different times."""

BATCH: Final = 5000
"""Answers forgotten in one statement, so that none holds locks for long."""


class Forgetting:
    """Deletes answers that are older than `kept`. Several may run: each takes what the others have not locked."""

    def __init__(self, pool: asyncpg.Pool, *, kept: timedelta = KEPT) -> None:
        self._pool = pool
        self._kept = kept

    async def run(self) -> None:
        """Forget now and then, until cancelled."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE)
            await self.forget()

    async def forget(self) -> int:
        """Forget all that is old enough; how many answers that were."""
        forgotten = 0
        while True:
            async with self._pool.acquire(timeout=5) as connection:
                gone = await store.forget_answers(connection, self._kept, BATCH)
            forgotten += gone
            if gone < BATCH:
                return forgotten
