"""What an operation asks for is known before anything of it is executed, and at once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from graphql import get_introspection_query, parse, validate

from myevents.graphql_limits import ALIASES, ANONYMOUS, DEPTH, DIRECTIVES, Measure, TooMuch, check, measure
from query.graphql.endpoint import schema

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
