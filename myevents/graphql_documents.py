"""Checks of a parsed GraphQL document before it is validated: one pass, whose work is bounded.

Validation compares the fields of one response key in pairs, so that a field repeated n times costs n * n comparisons.
The pairs are counted here instead, in scopes merged as execution merges them; what has too many is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TokenKind,
    validate,
)
from msgspec import Struct
from strawberry.extensions import SchemaExtension, ValidationCache
from strawberry.types.execution import ExecutionContext
from strawberry.types.graphql import OperationType

from myevents.errors import Refused

NAME_CHARACTERS: Final = 200
NUMBER_CHARACTERS: Final = 40
SELECTIONS: Final = 5_000
"""Selections of a document, those of fragments counted wherever they are spread."""

FRAGMENTS: Final = 50
"""Fragments of a document: validation compares what each of them spreads with the others."""

PAIRS: Final = 1_000
"""Pairs of fields with one response key in one place."""

VARIABLE_VALUES: Final = 2_000
"""Values in a request's variables: every object, list, text and number in them."""

VALIDATION_ERRORS: Final = 10
"""Errors of a document after which validation stops."""

VARIABLE_ERRORS: Final = 5
"""Errors in variables after which the others are not looked for."""

_LENGTHS: Final = {
    TokenKind.NAME: ("A name", NAME_CHARACTERS),
    TokenKind.INT: ("A number", NUMBER_CHARACTERS),
    TokenKind.FLOAT: ("A number", NUMBER_CHARACTERS),
}

CHARGE_KEY: Final = "myevents.charge"
"""Where a request's ASGI scope has its `Charge`; absent where callers are not limited."""

Charge = Callable[[int], Awaitable[Refused | None]]
"""Counts that many more requests for a caller; the refusal where these are too many."""


class TooManyRequests(Refused):
    """The caller has sent too many requests in the last minute; nothing was done."""


class Request(Struct, frozen=True, kw_only=True):
    """What checks need of a request beside its document, given to the schema as the operation's extensions."""

    operation_name: str | None
    charge: Charge | None = None

    def extensions(self) -> dict[str, Any]:
        """The form in which `DocumentChecks` finds it."""
        return {"request": self}


class Checked(Struct, frozen=True):
    """A document's operations by name, each with the number of its root fields; or why it is refused."""

    operations: Mapping[str, int]
    error: str | None = None


class DocumentChecks(SchemaExtension):
    """Refuses a document that costs too much to validate, or that leaves open which operation is meant.

    Without an operation's name the schema would run the first of several.
    """

    def on_parse(self) -> Iterator[None]:
        """Check the variables, and the document once it is parsed; raises `GraphQLError`."""
        _check_variables(self.execution_context.variables or {})
        yield
        document, request = self.execution_context.graphql_document, _request_of(self.execution_context)
        if document is None:
            return
        checked = check_document(document)
        if checked.error is not None:
            raise GraphQLError(checked.error)
        if len(checked.operations) > 1 and request is not None and request.operation_name is None:
            raise GraphQLError("The document has several operations: say in operationName which one to run.")


class MutationCharges(SchemaExtension):
    """Charges each mutation of a request beside the first to the caller, before any of them is run."""

    async def on_execute(self) -> AsyncIterator[None]:
        """Charge all mutations but the first; where these are too many none of them is run."""
        context, request = self.execution_context, _request_of(self.execution_context)
        if request is not None and request.charge is not None and context.operation_type is OperationType.MUTATION:
            assert context.graphql_document is not None, "it is parsed and validated by now"
            more = check_document(context.graphql_document).operations.get(context.operation_name or "", 1) - 1
            refused = await request.charge(more) if more > 0 else None
            if refused is not None:
                context.result = ExecutionResult(data=None, errors=[GraphQLError(str(refused), original_error=refused)])
        yield


def _request_of(context: ExecutionContext) -> Request | None:
    return (context.operation_extensions or {}).get("request")


@lru_cache(maxsize=256)
def check_document(document: DocumentNode) -> Checked:
    """The document's operations, or why it is refused."""
    try:
        _check_lengths(document)
        if sum(isinstance(each, FragmentDefinitionNode) for each in document.definitions) > FRAGMENTS:
            raise GraphQLError(f"A document may have {FRAGMENTS} fragments.")
        return Checked(_Scopes(document).operations())
    except GraphQLError as error:
        return Checked({}, error.message)


def _check_lengths(document: DocumentNode) -> None:
    """Raise `GraphQLError` for a name or number that is too long."""
    token = document.loc.start_token if document.loc else None
    while token is not None:
        what, most = _LENGTHS.get(token.kind, ("", 0))
        if most and token.end - token.start > most:
            raise GraphQLError(f"{what} in the document may have {most} characters.")
        token = token.next


def _check_variables(variables: Mapping[str, Any]) -> None:
    """Raise `GraphQLError` where there are too many values."""
    left, values = VARIABLE_VALUES, [variables]
    while values:
        value = values.pop()
        inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        left -= len(inside)
        if left < 0:
            raise GraphQLError(f"The variables may hold {VARIABLE_VALUES:,} values: send less, or in parts.")
        values.extend(inside)


class BoundedValidation(ValidationCache):
    """Validates a document once, and stops after some errors."""

    def __init__(self) -> None:
        super().__init__()
        self.cached_validate_document = _validate


@lru_cache(maxsize=256)
def _validate(
    schema: GraphQLSchema, document: DocumentNode, rules: tuple[type[ASTValidationRule], ...]
) -> list[GraphQLError]:
    return validate(schema, document, rules, max_errors=VALIDATION_ERRORS)


class _Scopes:
    """The places of a document where fields are merged by response key."""

    def __init__(self, document: DocumentNode) -> None:
        self._operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        self._fragments = {n.name.value: n for n in document.definitions if isinstance(n, FragmentDefinitionNode)}
        self._reached: set[str] = set()
        self._selections = 0
        self._pairs = 0

    def operations(self) -> dict[str, int]:
        """The number of root fields by operation; raises `GraphQLError` where the document has too much."""
        found = {}
        for node in self._operations:
            keys = self._count([node.selection_set])
            found[node.name.value if node.name else ""] = len(keys - {"__typename"})
        for name, fragment in self._fragments.items():
            if name not in self._reached:
                self._count([fragment.selection_set])
        return found

    def _count(self, root: list[SelectionSetNode]) -> set[str]:
        """The response keys of `root`; counts what is below it, too."""
        keys: set[str] | None = None
        scopes = [root]
        while scopes:
            fields = self._fields(scopes.pop())
            keys = set(fields) if keys is None else keys
            for nodes in fields.values():
                self._pairs += len(nodes) * (len(nodes) - 1) // 2
                below = [node.selection_set for node in nodes if node.selection_set is not None]
                if below:
                    scopes.append(below)
            if self._pairs > PAIRS:
                raise GraphQLError("The document repeats fields too often: ask for each field once in each place.")
        return keys or set()

    def _fields(self, scope: Iterable[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """The fields of one scope by response key, those of fragments included."""
        found: dict[str, list[FieldNode]] = {}
        spread: set[str] = set()
        sets = list(scope)
        while sets:
            for selection in sets.pop().selections:
                self._selections += 1
                if self._selections > SELECTIONS:
                    raise GraphQLError(
                        f"The document asks for over {SELECTIONS:,} fields, those of fragments included: ask for less."
                    )
                match selection:
                    case FieldNode():
                        found.setdefault((selection.alias or selection.name).value, []).append(selection)
                    case InlineFragmentNode():
                        sets.append(selection.selection_set)
                    case FragmentSpreadNode() if selection.name.value not in spread:
                        spread.add(selection.name.value)
                        if selection.name.value in self._fragments:
                            sets.append(self._fragments[selection.name.value].selection_set)
        self._reached |= spread
        return found
