"""How connections to databases are used, looked up whenever somebody wants to know."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
from prometheus_client.core import GaugeMetricFamily, Metric


class Pools:
    """The pools of one process, by name."""

    def __init__(self) -> None:
        self._pools: dict[str, asyncpg.Pool] = {}

    def watch(self, name: str, pool: asyncpg.Pool) -> None:
        """Tell of `pool` from now on."""
        self._pools[name] = pool

    def collect(self) -> Iterator[Metric]:
        """Connections in use, open and idle, and how many there may be."""
        found = GaugeMetricFamily(
            "myevents_pool_connections", "Connections of a pool: used, idle, limit.", labels=("pool", "state")
        )
        for name, pool in self._pools.items():
            size, idle = pool.get_size(), pool.get_idle_size()
            for state, count in (("used", size - idle), ("idle", idle), ("limit", pool.get_max_size())):
                found.add_metric((name, state), count)
        yield found
