"""POST /command: the mutations over HTTP; GET answers a browser's GraphiQL, and `health`."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from command.caller import caller_of
from command.graphql.mutations import Context, Mutation, Query
from command.service import CommandService
from myevents.errors import ErrorCode, Refused
from myevents.graphql_http import graphql_endpoint, make_schema
from myevents.telemetry.graphql import GraphqlMetrics
from myevents.web import retry_after_seconds


def _signed_in(context: Context) -> bool:
    return not isinstance(context.caller, Refused)


schema: Final = make_schema(Query, Mutation, signed_in=_signed_in)


def graphql_route(service: CommandService, metrics: GraphqlMetrics) -> Route:
    """The route of the mutations."""

    def context_of(request: Request) -> Context:
        rejections = request.state.rejections = list[Refused | None]()
        try:
            return Context(caller=caller_of(request), service=service, rejections=rejections)
        except Refused as refused:
            return Context(caller=refused, service=service, rejections=rejections)

    respond = graphql_endpoint(schema, context_of, metrics)

    async def endpoint(request: Request) -> Response:
        """Respond; with 503 where no mutation was decided, as clients retry for a status, not for what data says."""
        response = await respond(request)
        rejections: list[Refused | None] = getattr(request.state, "rejections", [])
        overloads = [each for each in rejections if each is not None and each.code is ErrorCode.OVERLOADED]
        if overloads and len(overloads) == len(rejections) and response.status_code == 200:
            response.status_code = 503
            response.headers["Retry-After"] = max(map(retry_after_seconds, overloads), key=int)
        return response

    return Route("/command", endpoint, methods=["GET", "POST"])
