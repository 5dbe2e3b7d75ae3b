"""How much a GraphQL operation may ask for: measured in one pass over it, before anything is executed.

A fragment is measured once, however often and deep it is spread, so that the pass is linear in the document.

Every list counts by its limit: a page by `first` or `last`, others by what their field declares with `at_most`, whose
values are no rows of their own and of which `VALUES_PER_NODE` count as a node. Every field that is awaited asks a
database or the search index, and counts as a statement, or as the number that it declares with `statements`; what is
asked of each row of a page counts for every row.
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
    is_list_type,
    is_non_null_type,
)
from msgspec import Struct
from strawberry.extensions import SchemaExtension
from strawberry.types.field import StrawberryField

DEPTH: Final = 10
"""Fields inside fields, those of introspection aside."""

ALIASES: Final = 15
DIRECTIVES: Final = 50
ANONYMOUS: Final = 10_000
"""Nodes that a caller may ask for who does not say who he is."""

SIGNED_IN: Final = 50_000
"""Nodes that a caller may ask for who does."""

STATEMENTS: Final = 120
"""Statements that an operation may cause: a page of 100 rows, one connection of each, and some beside."""

VALUES_PER_NODE: Final = 4
"""Values inside a row, as halls or topics, that count as one node: a row has some 30 fields, they have up to four."""

_LIST_LIMIT: Final = "list limit"
_STATEMENTS: Final = "statements"
_DEFINITION: Final = "strawberry-definition"
_PAGE_ROWS: Final = {"edges", "nodes"}
_USUAL: Final = 20
_MOST: Final = 100
_META: Final = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef, "__typename": TypeNameMetaFieldDef}


def at_most(count: int) -> dict[object, object]:
    """Return the metadata of a field that lists up to `count` values."""
    return {_LIST_LIMIT: count}


def statements(count: int) -> dict[object, object]:
    """Return the metadata of an awaited field that causes `count` statements, where that is not one."""
    return {_STATEMENTS: count}


class Measure(Struct, frozen=True):
    """What an operation asks for; `nodes` are those that its lists can have at most.

    `row_nodes` and `row_statements` are asked for in each row of the page that the selection is made of.
    """

    depth: int = 0
    aliases: int = 0
    directives: int = 0
    nodes: int = 0
    statements: int = 0
    row_nodes: int = 0
    row_statements: int = 0

    def beside(self, other: Measure) -> Measure:
        """Both, side by side."""
        return Measure(
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.directives + other.directives,
            self.nodes + other.nodes,
            self.statements + other.statements,
            self.row_nodes + other.row_nodes,
            self.row_statements + other.row_statements,
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
        ("statements of the databases", found.statements, STATEMENTS),
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
        depth, aliases = below.depth + 1, below.aliases + aliases
        own, in_row = self._own_statements(field), (below.nodes, below.statements)
        if name in _PAGE_ROWS and "pageInfo" in getattr(kind, "fields", {}):
            # The connection knows how many rows there are.
            return Measure(depth, aliases, below.directives, 0, own, *in_row)
        size = self._size(node, field)
        if "pageInfo" in getattr(get_named_type(field.type), "fields", {}):
            nodes = size * (1 + below.row_nodes) + below.nodes
            return Measure(
                depth, aliases, below.directives, nodes, own + size * below.row_statements + below.statements
            )
        if not is_list_type(field.type.of_type if is_non_null_type(field.type) else field.type):
            return Measure(depth, aliases, below.directives, below.nodes, own + below.statements)
        nodes = (size if list_limit(field) is None else -(-size // VALUES_PER_NODE)) + size * below.nodes
        return Measure(depth, aliases, below.directives, nodes, own + size * below.statements)

    def _own_statements(self, field: GraphQLField) -> int:
        """Return how many statements the field itself causes."""
        definition = field.extensions.get(_DEFINITION)
        if not isinstance(definition, StrawberryField):
            return 0
        resolver = definition.base_resolver
        count: int = definition.metadata.get(_STATEMENTS, int(resolver is not None and resolver.is_async))
        return count

    def _size(self, node: FieldNode, field: GraphQLField) -> int:
        """Return how many values a list may have: as declared, else as asked for, else as many as any page."""
        limit = list_limit(field)
        if limit is not None:
            return limit
        given = {argument.name.value: _value(argument.value, self._variables) for argument in node.arguments or ()}
        if "ids" in field.args:
            ids = given.get("ids")
            return len(ids) if isinstance(ids, list) else 1
        asked = [size for size in (given.get("first"), given.get("last")) if size is not None]
        # What is no size is refused where it is used; until then it counts as the most.
        sizes = [min(_MOST, size) if isinstance(size, int) and size > 0 else _MOST for size in asked]
        return max(sizes, default=_USUAL if "first" in field.args else _MOST)


def list_limit(field: GraphQLField) -> int | None:
    """Return the limit that a list field declares, None where it declares none."""
    definition = field.extensions.get(_DEFINITION)
    limit: int | None = definition.metadata.get(_LIST_LIMIT) if isinstance(definition, StrawberryField) else None
    return limit


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
