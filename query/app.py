"""The query service over HTTP: GraphQL and REST, both onto the same `Reads`."""

from __future__ import annotations

from starlette.routing import Route

from myevents.search.port import SearchBuilds
from myevents.telemetry.graphql import GraphqlMetrics
from query.answers import Answers
from query.graphql.endpoint import graphql_route
from query.reads import Reads
from query.rest import rest_routes


def query_routes(reads: Reads, search: SearchBuilds, answers: Answers, metrics: GraphqlMetrics) -> list[Route]:
    """Every route that reads."""
    return [graphql_route(reads, search, answers, metrics), *rest_routes(reads, answers)]
