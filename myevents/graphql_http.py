"""GraphQL over HTTP, for both services: bounded, with the status codes of the specification."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import orjson
import strawberry
import structlog
from graphql import GraphQLError
from graphql.execution import Executor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import MaskErrors, MaxTokensLimiter, ParserCache
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from myevents import graphql_documents
from myevents.auth import USER_HEADER
from myevents.errors import ErrorCode, Refused
from myevents.graphiql import graphiql_page, prefers_page
from myevents.graphql_documents import (
    CHARGE_KEY,
    VARIABLE_ERRORS,
    BoundedValidation,
    DocumentChecks,
    MutationCharges,
    TooManyRequests,
)
from myevents.graphql_limits import Limits
from myevents.negotiation import best
from myevents.telemetry.graphql import GraphqlMetrics
from myevents.web import (
    ANSWER_BYTES,
    ANSWER_TOO_LARGE,
    DEADLINE_SECONDS,
    NO_STORE,
    Answer,
    BodyTooLarge,
    Make,
    body_of,
    deadline_refusal,
    problem,
    retry_after_seconds,
    too_large,
    too_slow,
)

TOKENS: Final = 1000
"""Tokens of a document."""

GRAPHQL: Final = "application/graphql-response+json"
"""What tells of a document that cannot be run by the status 400."""

JSON: Final = "application/json"
"""The older type: whatever is well-formed gets 200. It is also for those who do not say what they take."""

_VARY: Final = "Accept, MyEvents-User, MyEvents-Position"
PRIVATE_HEADERS: Final = {"Vary": _VARY, "Cache-Control": NO_STORE}
PUBLIC_HEADERS: Final = {"Vary": _VARY, "Cache-Control": "no-cache"}
_log = structlog.get_logger()


class Call(msgspec.Struct):
    """The body of a GraphQL request."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = msgspec.field(default=None, name="operationName")
    extensions: dict[str, Any] | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came: its body, or the part of its address behind the question mark; the answer's media type."""

    request: Request
    sent: bytes
    media: str
    commands: bool = False
    """Whether it was sent to a schema with mutations."""

    @property
    def public(self) -> bool:
        """Whether the answer without errors is the same for every caller: a query's, and nobody says who asks."""
        return not self.commands and USER_HEADER not in self.request.headers

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of an answer without errors: a cache in front may keep a public one, but asks us each time."""
        return PUBLIC_HEADERS if self.public else PRIVATE_HEADERS

    @property
    def media_type(self) -> str:
        """The answer's, in full."""
        return _in_full(self.media)

    def call(self) -> Call:
        """What is asked; raises `MsgspecError`, `UnicodeError` or `RecursionError` where it cannot be read."""
        if self.request.method == "POST":
            return msgspec.json.decode(self.sent, type=Call)
        given: dict[str, Any] = dict(self.request.query_params)
        for name in ("variables", "extensions"):
            if given.get(name):
                given[name] = msgspec.json.decode(given[name])
        return msgspec.convert(given, Call)


Recall = Callable[[Asked, Any, Make], Awaitable[Response]]
"""Answers from memory, or makes the answer; is given the request's context."""


class _Schema(strawberry.Schema):
    def _get_custom_context_kwargs(
        self, operation_extensions: dict[str, Any] | None = None, *, sync: bool = False
    ) -> dict[str, Any]:
        """The execution's other options: the first errors in variables stop it."""
        options = super()._get_custom_context_kwargs(operation_extensions, sync=sync)
        return options | {"max_coercion_errors": VARIABLE_ERRORS}

    def process_errors(self, errors: list[GraphQLError], execution_context: object = None) -> None:
        """Log no caller's mistake, which may hold what is theirs; ours are logged where they are masked."""


def make_schema(
    query: type,
    mutation: type | None = None,
    *,
    signed_in: Callable[[Any], bool],
    types: Sequence[type] = (),
    executor: type[Executor[Any]] | None = None,
    extensions: Sequence[type] = (),
) -> strawberry.Schema:
    """A schema whose documents are bounded, parsed once, and whose own faults are not shown to callers.

    `signed_in` tells of a request's context whether it says who asks.
    """
    schema = _Schema(
        query=query,
        mutation=mutation,
        execution_context_class=executor,
        types=types,
        extensions=[
            *extensions,
            lambda: Limits(lambda: schema._schema, signed_in),
            *([MutationCharges] if mutation else []),
            DocumentChecks,
            lambda: MaxTokensLimiter(max_token_count=TOKENS),
            lambda: ParserCache(maxsize=256),
            BoundedValidation,
            lambda: MaskErrors(should_mask_error=_is_ours_to_mend, error_message="Something went wrong on our side."),
        ],
    )
    return schema


def graphql_endpoint(
    schema: strawberry.Schema,
    context_of: Callable[[Request], object],
    metrics: GraphqlMetrics,
    recall: Recall | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """The handler of GET (queries alone) and POST; `context_of` may raise `Refused`.

    A request that `recall` knows is not even parsed.
    """

    commands = schema.mutation is not None

    async def endpoint(request: Request) -> Response:
        if prefers_page(request):
            return graphiql_page(request.url.path)
        media = best(request.headers.get("accept"), (GRAPHQL, JSON), usual=JSON)
        if media is None:
            return _refusal(f"The answer is {GRAPHQL} or {JSON}: accept one of them.", 406, JSON)
        sent = None
        try:
            # Who waits for another one's answer, and has to make it after all, has no more time than others.
            async with asyncio.timeout(DEADLINE_SECONDS):
                sent = request.scope["query_string"] if request.method == "GET" else await _body(request)
                context = context_of(request)
                asked = Asked(request=request, sent=sent, media=media, commands=commands)
                make = partial(_made, schema, asked, context, metrics)
                return await recall(asked, context, make) if recall else (await make()).response
        except BodyTooLarge:
            return too_large()
        except ClientDisconnect:
            return Response(status_code=400)
        except Refused as refused:
            return problem(refused)
        except UnsupportedType as error:
            return _refusal(str(error), 415, media)
        except TimeoutError:
            return too_slow() if sent is None else _late(media, commands=commands).response

    return endpoint


async def _made(schema: strawberry.Schema, asked: Asked, context: object, metrics: GraphqlMetrics) -> Answer:
    """The answer to a request that has not been looked at yet."""
    try:
        call = asked.call()
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return _refused(f"This is no GraphQL request: {error}.", 400, asked.media)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await _executed(schema, asked, call, context, metrics)
    except TimeoutError:
        return _late(asked.media, commands=asked.commands)


async def _executed(
    schema: strawberry.Schema, asked: Asked, call: Call, context: object, metrics: GraphqlMetrics
) -> Answer:
    media, mutating = asked.media, asked.request.method == "POST"
    allowed = {OperationType.QUERY, OperationType.MUTATION} if mutating else {OperationType.QUERY}
    refused = 400 if media == GRAPHQL else 200
    checks = graphql_documents.Request(
        operation_name=call.operation_name or None, charge=asked.request.scope.get(CHARGE_KEY)
    )
    try:
        result = await schema.execute(
            call.query,
            call.variables,
            context_value=context,
            operation_name=call.operation_name or None,
            allowed_operation_types=allowed,
            operation_extensions=checks.extensions(),
        )
    except InvalidOperationTypeError:
        return _refused("GET only reads: send mutations by POST.", 405, media, {"Allow": "POST"})
    except CannotGetOperationTypeError:
        return _refused("The document has no operation of that name.", refused, media)
    except MissingQueryError:
        return _refused("There is no document in query.", 400, media)
    except (RecursionError, ValueError) as error:
        return _refused(f"The document cannot be run: {error}.", refused, media)
    answer: dict[str, Any] = {"data": result.data}
    if result.extensions:
        answer["extensions"] = result.extensions
        if "cost" in result.extensions:
            metrics.asked(result.extensions["cost"]["requested"])
    if result.errors:
        answer["errors"] = [_formatted(error) for error in result.errors]
        status, headers = 200, {}
        if result.data is None and (overload := _overload(result.errors)) is not None:
            status = 429 if isinstance(overload, TooManyRequests) else 503
            headers = {"Retry-After": retry_after_seconds(overload)}
        if result.data is None and not any(error.path for error in result.errors):
            del answer["data"]
            status = status if headers else refused
        return Answer(response=_json(answer, status, media, headers), whole=False)
    response = _json(answer, 200, media, asked.headers)
    if len(response.body) > ANSWER_BYTES:
        too_large_answer = {"message": ANSWER_TOO_LARGE, "extensions": {"code": ErrorCode.INVALID_INPUT.value}}
        return Answer(response=_json({"errors": [too_large_answer]}, refused, media), whole=False)
    return Answer(response=response, whole=True)


def _overload(errors: Sequence[GraphQLError]) -> Refused | None:
    """The refusal among `errors` that passes latest, where all of them say OVERLOADED: clients may send it again."""
    causes = [error.original_error for error in errors]
    passing = [cause for cause in causes if isinstance(cause, Refused) and cause.code is ErrorCode.OVERLOADED]
    if len(passing) < len(causes):
        return None
    return max(passing, key=lambda refused: refused.retry_after or 0.0, default=None)


def _late(media: str, *, commands: bool) -> Answer:
    """The answer to a request that has taken `DEADLINE_SECONDS`."""
    refused = deadline_refusal(command=commands)
    error = _formatted(GraphQLError(refused.message, original_error=refused))
    headers = {"Retry-After": retry_after_seconds(refused)}
    return Answer(response=_json({"errors": [error]}, 503, media, headers), whole=False)


def _formatted(error: GraphQLError) -> dict[str, Any]:
    """The error as answered; of one that callers can act on its code, too, and when to try again."""
    formatted: dict[str, Any] = dict(error.formatted)
    refused = error.original_error
    if isinstance(refused, Refused):
        told = {"code": refused.code.value, "retryAfter": refused.retry_after}
        formatted["extensions"] = {name: value for name, value in told.items() if value is not None}
    return formatted


class UnsupportedType(Exception):
    """The body is of a type that is not read here."""


async def _body(request: Request) -> bytes:
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if kind.strip() != JSON or charset not in ("", "charset=utf-8"):
        raise UnsupportedType(f"The body is {JSON} in UTF-8: say so in Content-Type.")
    return await body_of(request)


def _is_ours_to_mend(error: GraphQLError) -> bool:
    if error.original_error is None or isinstance(error.original_error, GraphQLError | Refused):
        return False
    _log.error("graphql_failed", exc_info=error.original_error)
    return True


def _refused(message: str, status: int, media: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(response=_refusal(message, status, media, headers), whole=False)


def _refusal(message: str, status: int, media: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json({"errors": [{"message": message}]}, status, media, headers)


def _json(document: dict[str, Any], status: int, media: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer with that document; unless `headers` say more, as private as an error has to be."""
    try:
        body = orjson.dumps(document)
    except TypeError:
        # A lone surrogate that an error repeats from the input: there is no JSON of it.
        body = orjson.dumps({"errors": [{"message": "The request holds text that is not Unicode."}]})
        status = 400
    return Response(body, status, {**PRIVATE_HEADERS, **(headers or {})}, media_type=_in_full(media))


def _in_full(media: str) -> str:
    return f"{media}; charset=utf-8"
