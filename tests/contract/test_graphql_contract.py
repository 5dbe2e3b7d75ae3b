"""What is served is written down, and keeps what was promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)

import schema as schema_package
from command.graphql import sdl as command_sdl
from query.graphql import sdl as query_sdl

HERE = Path(__file__).parent


@pytest.mark.parametrize("served", [command_sdl, query_sdl], ids=["command", "query"])
def test_the_served_sdl_is_the_one_written_down(served: object) -> None:
    assert served.PATH.read_text(encoding="utf-8") == served.sdl()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "contract"),
    [(command_sdl.sdl(), "contract_command.graphql"), (query_sdl.sdl(), "contract_query.graphql")],
    ids=["command", "query"],
)
def test_nothing_served_contradicts_the_contract(text: str, contract: str) -> None:
    promised = build_schema((HERE / contract).read_text(encoding="utf-8"))
    assert contradictions(build_schema(text), promised) == []


def test_the_comparison_sees_a_renamed_field() -> None:
    promised = build_schema("type Query { events: Int! }")
    assert contradictions(build_schema("type Query { event: Int! }"), promised) == ["Query.event"]
    assert contradictions(build_schema("type Query { events: Int }"), promised) == ["Query.events: Int, not Int!"]


def test_our_schema_package_is_not_shadowed() -> None:
    assert Path(schema_package.__file__ or "").is_relative_to(HERE.parents[1])


def contradictions(served: GraphQLSchema, promised: GraphQLSchema) -> list[str]:
    """Types, fields, arguments and enum values that are served and not as promised."""
    found: list[str] = []
    for name, kind in served.type_map.items():
        if name.startswith("__"):
            continue
        other = promised.type_map.get(name)
        if other is None:
            found.append(name)
        elif isinstance(kind, GraphQLEnumType) and isinstance(other, GraphQLEnumType):
            found += [f"{name}.{value}" for value in kind.values if value not in other.values]
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            assert isinstance(other, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType)
            for field, value in kind.fields.items():
                if field not in other.fields:
                    found.append(f"{name}.{field}")
                elif str(value.type) != str(other.fields[field].type):
                    found.append(f"{name}.{field}: {value.type}, not {other.fields[field].type}")
    return found
