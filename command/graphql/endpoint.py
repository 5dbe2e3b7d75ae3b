"""POST /command: the mutations over HTTP; GET answers a browser's GraphiQL, and `health`."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.routing import Route

from command.caller import caller_of
from command.graphql.mutations import Context, Mutation, Query
from command.service import CommandService
from myevents.errors import Refused
from myevents.graphql_http import graphql_endpoint, make_schema
from myevents.telemetry.graphql import GraphqlMetrics


def _signed_in(context: Context) -> bool:
    return not isinstance(context.caller, Refused)


schema: Final = make_schema(Query, Mutation, signed_in=_signed_in)


def graphql_route(service: CommandService, metrics: GraphqlMetrics) -> Route:
    """The route of the mutations."""

    def context_of(request: Request) -> Context:
        try:
            return Context(caller=caller_of(request), service=service)
        except Refused as refused:
            return Context(caller=refused, service=service)

    return Route("/command", graphql_endpoint(schema, context_of, metrics), methods=["GET", "POST"])
