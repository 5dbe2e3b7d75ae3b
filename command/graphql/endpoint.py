"""GraphQL over HTTP for commands: POST alone, bounded, with the status codes of the specification."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson
import strawberry
import structlog
from graphql import GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from strawberry.extensions import MaskErrors, MaxTokensLimiter

from command.graphql.mutations import Context, Mutation, Query
from command.problems import BodyTooLarge, body_of, caller_of, too_large
from command.service import Caller, CommandService
from myevents.errors import Refused

TOKENS: Final = 1000
"""Tokens of a document."""

MEDIA_TYPE: Final = "application/graphql-response+json"

schema: Final = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    extensions=[
        lambda: MaxTokensLimiter(max_token_count=TOKENS),
        lambda: MaskErrors(should_mask_error=_is_ours_to_mend, error_message="Something went wrong on our side."),
    ],
)
_log = structlog.get_logger()


class Call(msgspec.Struct, forbid_unknown_fields=False):
    """The body of a GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = msgspec.field(default=None, name="operationName")


def graphql_route(service: CommandService) -> Route:
    """POST /command."""

    async def endpoint(request: Request) -> Response:
        try:
            call = msgspec.json.decode(await body_of(request), type=Call)
        except BodyTooLarge:
            return too_large()
        except ClientDisconnect:
            return Response(status_code=400)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return _json({"errors": [{"message": f"The body is no GraphQL request: {error}."}]}, 400)
        context = Context(caller=_caller(request), service=service)
        result = await schema.execute(
            call.query, call.variables, context_value=context, operation_name=call.operation_name
        )
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [error.formatted for error in result.errors]
            if result.data is None and not any(error.path for error in result.errors):
                del answer["data"]
                return _json(answer, 400)
        return _json(answer, 200)

    return Route("/command", endpoint, methods=["POST"])


def _caller(request: Request) -> Caller | Refused:
    try:
        return caller_of(request)
    except Refused as refused:
        return refused


def _is_ours_to_mend(error: GraphQLError) -> bool:
    if error.original_error is None or isinstance(error.original_error, GraphQLError):
        return False
    _log.error("command_failed", exc_info=error.original_error)
    return True


def _json(document: dict[str, Any], status: int) -> Response:
    try:
        body = orjson.dumps(document)
    except TypeError:
        # A lone surrogate that an error repeats from the input: orjson writes none.
        body = msgspec.json.encode({"errors": [{"message": "The request holds text that is not Unicode."}]})
        status = 400
    return Response(body, status, media_type=MEDIA_TYPE)
