"""The query service over HTTP: GraphQL and REST, both onto the same `Reads`."""

from __future__ import annotations

from starlette.routing import Route

from myevents.search.port import SearchBuilds
from query.graphql.endpoint import graphql_route
from query.reads import Reads
from query.rest import rest_routes


def query_routes(reads: Reads, search: SearchBuilds) -> list[Route]:
    """Every route that reads."""
    return [graphql_route(reads, search), *rest_routes(reads)]
