"""GET and POST /graphql: the queries over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import strawberry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from strawberry.extensions import SchemaExtension

from myevents.auth import BadUser, person
from myevents.errors import ErrorCode, Refused
from myevents.graphql_http import PRIVATE_HEADERS, PUBLIC_HEADERS, Asked, graphql_endpoint, make_schema
from myevents.search.port import SearchBuilds
from myevents.telemetry.graphql import GraphqlMetrics
from myevents.web import Make, WhileConnected
from query.answers import Answers, Question, asks_afresh
from query.compiled import CompiledExecutor
from query.graphql.queries import Query
from query.graphql.types import Booking, Context, Event, Location
from query.position import HEADER, Position
from query.reads import Reads


class Staleness(SchemaExtension):
    """Says `stale` in the answer's extensions where a position was waited for in vain."""

    def get_results(self) -> dict[str, Any]:
        """The extension's part of the answer."""
        context = self.execution_context.context
        return {"stale": True} if isinstance(context, Context) and context.position.stale else {}


def _signed_in(context: Context) -> bool:
    return context.signed_in


schema: Final[strawberry.Schema] = make_schema(
    Query, types=(Event, Location, Booking), extensions=(Staleness,), signed_in=_signed_in, executor=CompiledExecutor
)


def graphql_route(reads: Reads, search: SearchBuilds, answers: Answers, metrics: GraphqlMetrics) -> Route:
    """The route of the queries."""

    def context_of(request: Request) -> Context:
        try:
            viewer = person(request.headers)
        except BadUser as error:
            raise Refused(ErrorCode.INVALID_INPUT, f"{error}.", ("MyEvents-User",)) from None
        ours = reads.of_request()
        return Context(reads=ours, search=search, position=Position(ours, request.headers.get(HEADER)), viewer=viewer)

    async def recall(asked: Asked, context: Context, make: Make) -> Response:
        request = asked.request
        question = Question(
            asked=b"\n".join((request.method.encode(), asked.media.encode(), asked.sent)),
            viewer=context.whoever,
            position=context.position,
            versions=context.reads.versions,
            media_type=asked.media_type,
            headers=PUBLIC_HEADERS if context.whoever is None else PRIVATE_HEADERS,
            fresh=asks_afresh(request),
        )
        return await answers.answer(question, make, partial(WhileConnected, request))

    return Route("/graphql", graphql_endpoint(schema, context_of, metrics, recall), methods=["GET", "POST"])
