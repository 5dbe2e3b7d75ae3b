"""GraphQL over HTTP, for both services: bounded, with the status codes of the specification."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import orjson
import strawberry
import structlog
from graphql import GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from strawberry.extensions import MaskErrors, MaxTokensLimiter, ParserCache, ValidationCache
from strawberry.types.graphql import OperationType

from myevents.errors import Refused
from myevents.graphiql import graphiql_page, prefers_page
from myevents.web import BodyTooLarge, body_of, problem, too_large

TOKENS: Final = 1000
"""Tokens of a document."""

DEADLINE: Final = 5.0
"""Seconds a request may take."""

MEDIA_TYPE: Final = "application/graphql-response+json"

_log = structlog.get_logger()


class Call(msgspec.Struct):
    """The body of a GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = msgspec.field(default=None, name="operationName")


def make_schema(
    query: type, mutation: type | None = None, *, types: Sequence[type] = (), extensions: Sequence[type] = ()
) -> strawberry.Schema:
    """A schema whose documents are bounded, parsed once, and whose own faults are not shown to callers."""
    return strawberry.Schema(
        query=query,
        mutation=mutation,
        types=types,
        extensions=[
            *extensions,
            lambda: MaxTokensLimiter(max_token_count=TOKENS),
            lambda: ParserCache(maxsize=256),
            lambda: ValidationCache(maxsize=256),
            lambda: MaskErrors(should_mask_error=_is_ours_to_mend, error_message="Something went wrong on our side."),
        ],
    )


def graphql_endpoint(
    schema: strawberry.Schema, context_of: Callable[[Request], object]
) -> Callable[[Request], Awaitable[Response]]:
    """The handler of GET (queries alone) and POST; `context_of` may raise `Refused`."""

    async def endpoint(request: Request) -> Response:
        if prefers_page(request):
            return graphiql_page(request.url.path)
        try:
            call = _from_address(request) if request.method == "GET" else await _from_body(request)
            context = context_of(request)
        except BodyTooLarge:
            return too_large()
        except ClientDisconnect:
            return Response(status_code=400)
        except Refused as refused:
            return problem(refused)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return _json({"errors": [{"message": f"This is no GraphQL request: {error}."}]}, 400)
        try:
            async with asyncio.timeout(DEADLINE):
                return await _executed(schema, call, context, mutating=request.method == "POST")
        except TimeoutError:
            return _json({"errors": [{"message": "The request took too long: ask for less."}]}, 503)

    return endpoint


async def _executed(schema: strawberry.Schema, call: Call, context: object, *, mutating: bool) -> Response:
    allowed = {OperationType.QUERY, OperationType.MUTATION} if mutating else {OperationType.QUERY}
    try:
        result = await schema.execute(
            call.query,
            call.variables,
            context_value=context,
            operation_name=call.operation_name,
            allowed_operation_types=allowed,
        )
    except (RecursionError, ValueError) as error:
        return _json({"errors": [{"message": f"The document cannot be run: {error}."}]}, 400)
    answer: dict[str, Any] = {"data": result.data}
    if result.extensions:
        answer["extensions"] = result.extensions
    if result.errors:
        answer["errors"] = [error.formatted for error in result.errors]
        if result.data is None and not any(error.path for error in result.errors):
            del answer["data"]
            return _json(answer, 400)
    return _json(answer, 200)


def _from_address(request: Request) -> Call:
    given: dict[str, Any] = dict(request.query_params)
    if given.get("variables"):
        given["variables"] = msgspec.json.decode(given["variables"])
    return msgspec.convert(given, Call)


async def _from_body(request: Request) -> Call:
    return msgspec.json.decode(await body_of(request), type=Call)


def _is_ours_to_mend(error: GraphQLError) -> bool:
    if error.original_error is None or isinstance(error.original_error, GraphQLError | Refused):
        return False
    _log.error("graphql_failed", exc_info=error.original_error)
    return True


def _json(document: dict[str, Any], status: int) -> Response:
    try:
        body = orjson.dumps(document)
    except TypeError:
        # A lone surrogate that an error repeats from the input: there is no JSON of it.
        body = orjson.dumps({"errors": [{"message": "The request holds text that is not Unicode."}]})
        status = 400
    return Response(body, status, media_type=MEDIA_TYPE)
