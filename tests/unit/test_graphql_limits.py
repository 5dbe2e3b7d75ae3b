"""What an operation asks for is known before anything of it is executed, and at once."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from graphql import (
    GraphQLSchema,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_list_type,
    parse,
    validate,
)

from command.graphql.endpoint import schema as command_schema
from command.inputs import BookingInput, EventInput
from command.location.decide import MOST_HALLS
from myevents.graphql_limits import (
    ALIASES,
    ANONYMOUS,
    DEPTH,
    DIRECTIVES,
    STATEMENTS,
    Measure,
    TooMuch,
    check,
    list_limit,
    measure,
)
from query.graphql.endpoint import schema
from schema.limits import HALLS_LIMIT, LINES_LIMIT, TICKET_TYPES_LIMIT, TOPICS_LIMIT

GRAPH = schema._schema


def measured(text: str, **variables: Any) -> Measure:
    """The measure of a document that is valid."""
    document = parse(text)
    assert validate(GRAPH, document) == []
    return measure(GRAPH, document, None, variables)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ('{ event(id: "x") { name } }', 0),
        ("{ events { nodes { id } } }", 20),
        ("{ events(first: 7) { nodes { id } edges { node { id } } } }", 7),
        ("{ events(last: 3) { nodes { id } } locations(first: 4) { nodes { id } } }", 7),
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', 3),
        ("{ events(first: 1000) { nodes { id } } }", 100),
        ("{ events(first: -5) { nodes { id } } }", 100),
        ('{ ...f } fragment f on Query { searchEvents(search: "x", first: 9) { nodes { score } } }', 9),
    ],
)
def test_the_nodes_of_lists_are_counted(text: str, nodes: int) -> None:
    assert measured(text).nodes == nodes


def test_sizes_given_in_variables_are_counted() -> None:
    text = "query($n: Int = 30, $ids: [ID!]!) { events(first: $n) { nodes { id } } nodes(ids: $ids) { id } }"
    assert measured(text, ids=["a", "b"]).nodes == 32
    assert measured(text, n=5, ids=[]).nodes == 5


def test_lists_inside_lists_multiply() -> None:
    text = """{ locations(first: 50) { nodes { events(first: 10) { nodes { location { events(first: 20) {
      nodes { id } } } } } } } }"""
    found = measured(text)
    assert found.nodes == 50 * (1 + 10 * (1 + 20))
    with pytest.raises(TooMuch, match="10,550 nodes; 10,000 are allowed"):
        check(found, ANONYMOUS)


def test_fragments_that_double_at_each_step_are_measured_at_once() -> None:
    steps = 90
    fragments = "".join(f"fragment f{n} on Event {{ ...f{n + 1} ...f{n + 1} }} " for n in range(steps))
    text = f"{{ events {{ nodes {{ ...f0 }} }} }} {fragments} fragment f{steps} on Event {{ a: id }}"
    document = parse(text)
    begun = time.process_time()
    found = measure(GRAPH, document, None, {})
    assert time.process_time() - begun < 1
    assert found.aliases == 2**steps
    with pytest.raises(TooMuch, match="aliases"):
        check(found, ANONYMOUS)


def test_depth_counts_fields_through_fragments() -> None:
    inner = "location { events { nodes { " * 3 + "id" + " } } }" * 3
    text = f"{{ events {{ nodes {{ ...f }} }} }} fragment f on Event {{ {inner} }}"
    found = measured(text)
    assert found.depth == 2 + 9 + 1
    with pytest.raises(TooMuch, match=f"12 levels of fields; {DEPTH} are allowed"):
        check(found, 10**9)


def test_aliases_and_directives_are_counted() -> None:
    aliases = " ".join(f"a{n}: __typename" for n in range(ALIASES + 1))
    with pytest.raises(TooMuch, match="16 aliases"):
        check(measured(f"{{ {aliases} }}"), ANONYMOUS)
    many = " ".join("__typename @skip(if: false)" for _ in range(DIRECTIVES + 1))
    with pytest.raises(TooMuch, match="51 directives"):
        check(measured(f"{{ {many} }}"), ANONYMOUS)


def test_what_tools_ask_of_the_schema_is_allowed() -> None:
    check(measured(get_introspection_query()), ANONYMOUS)


@pytest.mark.parametrize("graph", [GRAPH, command_schema._schema])
def test_every_list_of_a_schema_has_a_limit(graph: GraphQLSchema) -> None:
    unlimited = [
        f"{kind.name}.{name}"
        for kind in graph.type_map.values()
        if not kind.name.startswith("__")
        for name, field in getattr(kind, "fields", {}).items()
        if is_list_type(get_nullable_type(field.type))
        and hasattr(field, "args")
        and list_limit(field) is None
        and not {"first", "ids"} & set(field.args)
        and not (name in {"edges", "nodes"} and "pageInfo" in getattr(kind, "fields", {}))
    ]
    assert unlimited == []
    connections = [kind for kind in graph.type_map.values() if "pageInfo" in getattr(kind, "fields", {})]
    paged = {
        get_named_type(field.type).name: "first" in field.args
        for kind in graph.type_map.values()
        for field in getattr(kind, "fields", {}).values()
        if get_named_type(field.type) in connections
    }
    assert all(paged[kind.name] for kind in connections), "a page's size is asked for, and bounded"


def test_lists_count_by_what_commands_accept_of_them() -> None:
    accepted = {
        field.name: max(int(kind.max_length or 0) for kind in _lists_in(field.type))
        for given in (EventInput, BookingInput)
        for field in msgspec.inspect.type_info(given).fields  # type: ignore[attr-defined]
        if _lists_in(field.type)
    }
    assert (MOST_HALLS, accepted["topics"], accepted["lines"]) == (HALLS_LIMIT, TOPICS_LIMIT, LINES_LIMIT)
    assert accepted["ticket_types"] <= TICKET_TYPES_LIMIT


def _lists_in(kind: msgspec.inspect.Type) -> list[msgspec.inspect.ListType]:
    parts = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    return [part for part in parts if isinstance(part, msgspec.inspect.ListType)]


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ('{ location(id: "x") { halls { name } } }', 200 // 4),
        ("{ locations(first: 100) { nodes { halls { name } } } }", 100 * (1 + 200 // 4)),
        ("{ events(first: 10) { nodes { topics ticketTypes { name } } } }", 10 * (1 + 13 + 20 // 4)),
        ("{ events(first: 10) { edges { node { location { halls { name } } } } } }", 10 * (1 + 200 // 4)),
        ('{ searchEvents(search: "x", first: 10) { nodes { highlights } } }', 10 * (1 + 2)),
        ('{ searchEvents(search: "x", first: 10) { facets(fields: [CITY]) { buckets { value } } } }', 10 + 1 + 4 * 25),
        ('{ booking(id: "x") { lines { seats } } }', 20 // 4),
    ],
)
def test_lists_that_are_no_pages_count_by_their_limits(text: str, nodes: int) -> None:
    assert measured(text).nodes == nodes


def test_the_halls_of_15_pages_of_events_are_too_much_for_anybody() -> None:
    pages = " ".join(f"a{n}: events(first: 100) {{ nodes {{ location {{ halls {{ name }} }} }} }}" for n in range(15))
    with pytest.raises(TooMuch, match="76,500 nodes"):
        check(measured(f"{{ {pages} }}"), 50_000)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("{ events { nodes { id name location { city } } } }", 1),
        ("{ events(first: 100) { totalCount nodes { id } edges { cursor } pageInfo { hasNextPage } } }", 2),
        ('{ searchEvents(search: "x", first: 100) { totalCount didYouMean facets(fields: [CITY]) { field } } }', 3),
        ("{ locations(first: 30) { totalCount nodes { events { totalCount } } } }", 2 + 30 * 2),
        ("{ locations(first: 30) { edges { node { ...f } } } } fragment f on Location { events { totalCount } }", 61),
        ("{ locations(first: 3) { ...f } } fragment f on LocationConnection { nodes { events { totalCount } } }", 7),
        ('{ nodes(ids: ["a", "b"]) { id ... on Location { events { nodes { id } } } } }', 4 + 2),
        ('{ event(id: "x") { location { events { nodes { location { events { totalCount } } } } } } }', 2 + 20 * 2),
    ],
)
def test_statements_are_counted_for_each_row_that_causes_them(text: str, statements: int) -> None:
    assert measured(text).statements == statements


def test_counts_in_all_rows_of_a_page_are_too_many_statements() -> None:
    near = "where: {near: {latitude: 1, longitude: 1, radiusKm: 9}}"
    counts = " ".join(f"e{n}: events(first: 1, {near}) {{ totalCount }}" for n in range(15))
    found = measured(f"{{ locations(first: 100) {{ nodes {{ {counts} }} }} }}")
    assert found.statements == 1 + 100 * 15 * 2
    with pytest.raises(TooMuch, match="3,001 statements of the databases; 120 are allowed"):
        check(found, ANONYMOUS)
    check(measured("{ locations(first: 100) { nodes { events(first: 5) { nodes { name } } } } }"), ANONYMOUS)
    assert STATEMENTS == 120
