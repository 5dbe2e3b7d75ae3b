"""Tells readers of the log that there is more: after the commit, many rounds in one notice, at no cost to a round.

NOTIFY inside a round would put all partitions' commits in one line; a lost notice only costs a reader's poll.
"""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg
import structlog

from schema.tables import FACTS_CHANNEL

PAUSE: Final = 0.005
"""Seconds between two notices."""

_log = structlog.get_logger()


class Notices:
    """Collects the heads that rounds have reached, and sends them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._heads: dict[int, int] = {}
        self._more = asyncio.Event()

    def reached(self, partition: int, seq: int) -> None:
        """Note that `seq` of `partition` can be read now."""
        self._heads[partition] = seq
        self._more.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            heads, self._heads = self._heads, {}
            positions = [f"{partition}:{seq}" for partition, seq in heads.items()]
            try:
                await self._pool.execute(
                    "select pg_notify($1, p) from unnest($2::text[]) as p", FACTS_CHANNEL, positions, timeout=2
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                _log.warning("notice_not_sent", positions=positions)
            await asyncio.sleep(PAUSE)
