"""The command service over HTTP: REST and GraphQL, both onto the same `CommandService`."""

from __future__ import annotations

from starlette.routing import Route

from command.graphql.endpoint import graphql_route
from command.rest import rest_routes
from command.service import CommandService
from myevents.telemetry.graphql import GraphqlMetrics


def command_routes(service: CommandService, metrics: GraphqlMetrics) -> list[Route]:
    """Every route that may record something."""
    return [graphql_route(service, metrics), *rest_routes(service)]
