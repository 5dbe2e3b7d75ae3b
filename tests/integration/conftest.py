"""What tests of projectors have: connections and the log of a test's own database. Others define their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from myevents.log.store import StoreLog
from myevents.store import open_pool
from schema.tables import PARTITIONS


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections as the projector has them."""
    pool = await open_pool(database_url, size=16)
    yield pool
    await pool.close()


@pytest.fixture
async def log(pool: asyncpg.Pool) -> AsyncIterator[StoreLog]:
    """The log of the test's database."""
    log = StoreLog(pool, PARTITIONS)
    yield log
    await log.close()
