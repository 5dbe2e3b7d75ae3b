"""What would cost too much to validate is refused in one pass, and what clients send is not."""

from __future__ import annotations

import pytest
from graphql import get_introspection_query, parse

from myevents.graphql_documents import Checked, check_document


def checked(text: str) -> Checked:
    """The result for a document."""
    return check_document(parse(text))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("{ a b a }", {"": 2}),
        ("query A { a } mutation B { a: x b: x c: x @include(if: false) __typename }", {"A": 1, "B": 3}),
        ("mutation A { a ...F ... on M { c } } fragment F on M { b a d { e } }", {"A": 4}),
    ],
)
def test_the_root_fields_of_each_operation_are_counted(text: str, counts: dict[str, int]) -> None:
    assert checked(text) == Checked(counts)


@pytest.mark.parametrize(
    "text",
    [
        "{ " + "__typename " * 900 + "}",
        "{ " + "a { b c } " * 150 + "}",
        "{ a { b { " + "c " * 900 + "} } }",
        "{ a { ...F } } fragment F on A { " + "c " * 900 + "}",
        "{ a } fragment F on A { " + "c " * 900 + "}",
        "{ " + "... on A { b { c } } " * 100 + "}",
        "{ " + "x { y y y y y } " * 20 + "}",
    ],
)
def test_a_field_that_is_repeated_too_often_in_one_place_is_refused(text: str) -> None:
    error = checked(text).error
    assert error is not None
    assert "repeats fields" in error


@pytest.mark.parametrize(
    "text",
    [
        "{ f { ...F0 } } "
        + " ".join(f"fragment F{n} on A {{ a {{ ...F{n + 1} }} b {{ ...F{n + 1} }} }}" for n in range(30)),
        "{ ...F } fragment F on A { a { ...F } }",
    ],
)
def test_fragments_that_spread_without_end_stop_the_check(text: str) -> None:
    error = checked(text).error
    assert error is not None
    assert "over 5,000 fields" in error


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"{{ events(first: {'9' * 50_000}) {{ id }} }}", "A number"),
        (f"{{ events(first: -{'9' * 41}.0) {{ id }} }}", "A number"),
        (f"{{ {'a' * 201}: events }}", "A name"),
        (f"query {'q' * 60_000} {{ events }}", "A name"),
        (f"{{ events(where: {{ {'a' * 201}: 1 }}) }}", "A name"),
    ],
)
def test_a_name_or_number_that_is_too_long_is_refused(text: str, what: str) -> None:
    error = checked(text).error
    assert error is not None
    assert error.startswith(what)


@pytest.mark.parametrize(
    "text",
    [
        get_introspection_query(),
        "{ " + " ".join(f"a{n}: event(id: {n}) {{ id name }}" for n in range(100)) + "}",
        "{ events { nodes { ...F ...G id } } } fragment F on Event { id name } fragment G on Event { id __typename }",
        f'{{ search(text: "{"long" * 5_000}") {{ id }} }}',
    ],
)
def test_what_clients_send_is_allowed(text: str) -> None:
    assert checked(text).error is None


def test_more_fragments_than_a_client_needs_are_refused() -> None:
    text = "{ ...F0 } " + " ".join(f"fragment F{n} on A {{ a{n}: a ...F{n + 1} }}" for n in range(70))
    assert "50 fragments" in str(checked(text).error)
