"""How much a GraphQL operation may ask for: measured in one pass over it, before anything is executed.

A fragment is measured once, however often and deep it is spread, so that the pass is linear in the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SchemaMetaFieldDef,
    SelectionSetNode,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
    ValueNode,
    VariableNode,
    get_named_type,
)
from msgspec import Struct
from strawberry.extensions import SchemaExtension

DEPTH: Final = 10
"""Fields inside fields, those of introspection aside."""

ALIASES: Final = 15
DIRECTIVES: Final = 50
ANONYMOUS: Final = 10_000
"""Nodes that a caller may ask for who does not say who he is."""

SIGNED_IN: Final = 50_000
"""Nodes that a caller may ask for who does."""

_USUAL: Final = 20
_MOST: Final = 100
_META: Final = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef, "__typename": TypeNameMetaFieldDef}


class Measure(Struct, frozen=True):
    """What an operation asks for; `nodes` are those that its lists can have at most."""

    depth: int = 0
    aliases: int = 0
    directives: int = 0
    nodes: int = 0

    def beside(self, other: Measure) -> Measure:
        """Both, side by side."""
        return Measure(
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.directives + other.directives,
            self.nodes + other.nodes,
        )


class TooMuch(GraphQLError):
    """The operation asks for more than is allowed; the message says of what, and how much."""


class Limits(SchemaExtension):
    """Refuses what asks for too much, and tells in `extensions.cost` how much was asked for."""

    def __init__(self, schema: Callable[[], GraphQLSchema], signed_in: Callable[[Any], bool]) -> None:
        self._schema = schema
        self._signed_in = signed_in
        self._cost: dict[str, int] | None = None

    def on_execute(self) -> Iterator[None]:
        """Measure the operation; one that asks for too much is answered here, and nothing of it is executed."""
        context = self.execution_context
        assert context.graphql_document is not None, "it is parsed and validated by now"
        limit = SIGNED_IN if self._signed_in(context.context) else ANONYMOUS
        try:
            found = measure(self._schema(), context.graphql_document, context.operation_name, context.variables or {})
            self._cost = {"requested": found.nodes, "limit": limit}
            check(found, limit)
        except TooMuch as error:
            context.result = ExecutionResult(data=None, errors=[error])
        yield

    def get_results(self) -> dict[str, Any]:
        """The extension's part of the answer."""
        return {"cost": self._cost} if self._cost is not None else {}


def check(found: Measure, nodes: int) -> None:
    """Raise `TooMuch` where `found` is over a limit."""
    for what, asked, allowed in (
        ("levels of fields", found.depth, DEPTH),
        ("aliases", found.aliases, ALIASES),
        ("directives", found.directives, DIRECTIVES),
        ("nodes", found.nodes, nodes),
    ):
        if asked > allowed:
            shown = f"{asked:,}" if asked < 10**9 else "over a thousand million"
            raise TooMuch(f"The operation asks for {shown} {what}; {allowed:,} are allowed: ask for less, or in parts.")


def measure(
    schema: GraphQLSchema, document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any]
) -> Measure:
    """What a validated operation asks for."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    chosen = next(
        node for node in operations if operation_name is None or (node.name and node.name.value == operation_name)
    )
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    root = schema.get_root_type(chosen.operation)
    assert root is not None, "validation has found it"
    given = {
        definition.variable.name.value: _value(definition.default_value, {})
        for definition in chosen.variable_definitions or ()
    } | dict(variables)
    own = Measure(directives=len(chosen.directives or ()))
    return _Pass(schema, fragments, given).selections(chosen.selection_set, root).beside(own)


class _Pass:
    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._measured: dict[str, Measure] = {}

    def selections(self, node: SelectionSetNode | None, kind: GraphQLNamedType) -> Measure:
        found = Measure()
        for selection in node.selections if node else ():
            own = Measure(directives=len(selection.directives or ()))
            match selection:
                case FieldNode():
                    below = self._field(selection, kind)
                case FragmentSpreadNode():
                    below = self._fragment(selection.name.value)
                case InlineFragmentNode():
                    condition = selection.type_condition
                    inside = self._schema.get_type(condition.name.value) if condition else kind
                    below = self.selections(selection.selection_set, inside or kind)
                case _:
                    continue
            found = found.beside(own).beside(below)
        return found

    def _fragment(self, name: str) -> Measure:
        if name not in self._measured:
            fragment = self._fragments[name]
            kind = self._schema.get_type(fragment.type_condition.name.value)
            assert kind is not None, "validation has found it"
            own = Measure(directives=len(fragment.directives or ()))
            self._measured[name] = self.selections(fragment.selection_set, kind).beside(own)
        return self._measured[name]

    def _field(self, node: FieldNode, kind: GraphQLNamedType) -> Measure:
        aliases = int(node.alias is not None)
        name = node.name.value
        field: GraphQLField = _META.get(name) or getattr(kind, "fields", {})[name]
        below = self.selections(node.selection_set, get_named_type(field.type))
        if kind.name.startswith("__"):
            # No data hangs on introspection, and validation bounds it.
            return Measure(0, below.aliases + aliases, below.directives, below.nodes)
        size = self._size(node, field)
        nodes = below.nodes if size is None else size * (1 + below.nodes)
        return Measure(below.depth + 1, below.aliases + aliases, below.directives, nodes)

    def _size(self, node: FieldNode, field: GraphQLField) -> int | None:
        """How many nodes a list may have; None for what is no list of ours."""
        given = {argument.name.value: _value(argument.value, self._variables) for argument in node.arguments or ()}
        if "ids" in field.args:
            ids = given.get("ids")
            return len(ids) if isinstance(ids, list) else 1
        if "first" not in field.args:
            return None
        asked = [size for size in (given.get("first"), given.get("last")) if size is not None]
        # What is no size is refused where it is used; until then it counts as the most.
        sizes = [min(_MOST, size) if isinstance(size, int) and size > 0 else _MOST for size in asked]
        return max(sizes, default=_USUAL)


def _value(node: ValueNode | None, variables: Mapping[str, Any]) -> Any:
    match node:
        case IntValueNode():
            return int(node.value)
        case ListValueNode():
            return [_value(value, variables) for value in node.values]
        case VariableNode():
            return variables.get(node.name.value)
        case _:
            return None
