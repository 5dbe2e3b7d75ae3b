"""How much GraphQL operations ask for."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Histogram

_NODES: Final = (1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


class GraphqlMetrics:
    """The operations of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cost = Histogram(
            "myevents_graphql_cost", "Nodes that an operation asks for.", buckets=_NODES, registry=registry
        )

    def asked(self, nodes: int) -> None:
        """Count an operation."""
        self._cost.observe(nodes)
