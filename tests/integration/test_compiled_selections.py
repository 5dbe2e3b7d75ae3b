"""A compiled selection answers exactly what the standard executor answers, its errors included."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLObjectType, get_named_type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from myevents.search.embedded.builds import EmbeddedBuilds
from query import compiled
from query.compiled import CompiledExecutor
from query.cursors import Cursors
from query.graphql.endpoint import schema
from query.graphql.types import Context
from query.position import Position
from query.reads import Reads
from query.sources import Sources
from schema.read_models import EventRow, TicketTypeRow
from schema.values import Hall, Money
from tests.random_cases import cases
from tests.search_corpus import conferences

KINDS: dict[str, Any] = dict(schema._schema.type_map)
SKIPPED = {"events", "facets"}
"""Fields that ask the database: the search is enough to compare."""


def selections(kind: str, depth: int = 4) -> some.SearchStrategy[str]:
    """Any selection of fields of a type, with aliases, fragments and directives."""
    fields = KINDS[kind].fields
    leaves = [name for name, field in fields.items() if not isinstance(get_named_type(field.type), GraphQLObjectType)]
    inner = {
        name: get_named_type(field.type).name
        for name, field in fields.items()
        if isinstance(get_named_type(field.type), GraphQLObjectType) and name not in SKIPPED
    }
    plain = some.sampled_from([*leaves, "__typename"])
    one = plain | some.builds("a_{0}: {0}".format, plain) | some.builds("{} @skip(if: $yes)".format, plain)
    if depth and inner:
        one |= some.one_of(
            [some.builds(f"{name} {{{{ {{}} }}}}".format, selections(of, depth - 1)) for name, of in inner.items()]
        )
    one |= some.builds(f"... on {kind} {{{{ {{}} }}}}".format, plain)
    return some.lists(one, min_size=1, max_size=5, unique=True).map(" ".join)


def rows() -> list[EventRow]:
    """Some conferences, with ticket types and halls."""
    kind = TicketTypeRow(ticket_type_id="typ_a", name="A", price=Money(amount="9.90", currency="EUR"), capacity=5)  # type: ignore[arg-type]
    hall = Hall(hall_id="hal_a", name="Hall 1", capacity=10)
    return [
        replace(
            row,
            ticket_types=(kind,),
            hall_id="hal_a",
            location=replace(row.location, halls=(hall,)) if row.location else None,
        )
        for row in conferences()[:60]
    ]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBuilds]:
    """A small index."""
    builds = EmbeddedBuilds(tmp_path_factory.mktemp("search"))

    async def fill() -> None:
        await (await builds.live()).write(rows(), [], {})

    asyncio.run(fill())
    yield builds
    asyncio.run(builds.close())


async def answered(builds: EmbeddedBuilds, query: str, executor: type | None) -> tuple[Any, Any]:
    """Data and errors of a query, by an executor."""
    reads = Reads(Sources(None), Cursors(b"secret"))  # type: ignore[arg-type]
    usual = schema.execution_context_class
    schema.execution_context_class = executor or usual.__mro__[1]
    try:
        context = Context(reads=reads, search=builds, position=Position(reads, None), viewer=None)
        result = await schema.execute(query, {"yes": True} if "$yes" in query else {}, context_value=context)
    finally:
        schema.execution_context_class = usual
    return result.data, [error.formatted for error in result.errors or ()]


@given(selection=selections("SearchHit"))
@settings(max_examples=cases(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_selection_gives_the_same_answer(index: EmbeddedBuilds, selection: str) -> None:
    nodes = f"nodes {{ {selection} x: score @skip(if: $yes) }}"
    query = f'query($yes: Boolean!) {{ searchEvents(search: "ruby", first: 8) {{ {nodes} }} }}'
    plain = asyncio.run(answered(index, query, None))
    quick = asyncio.run(answered(index, query, CompiledExecutor))
    assert quick == plain
    # Two things under one name cannot be asked for; all else is answered.
    assert [error for error in plain[1] if "conflict" not in error["message"]] == []
    assert plain[1] or len(plain[0]["searchEvents"]["nodes"]) == 8


async def test_a_page_is_answered_by_a_plan(index: EmbeddedBuilds, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = CompiledExecutor._object

    def counted(self: CompiledExecutor, kind: GraphQLObjectType, fields: Any) -> compiled.Plan:
        made.append(kind.name)
        return original(self, kind, fields)

    monkeypatch.setattr(CompiledExecutor, "_object", counted)
    query = """{ searchEvents(search: "ruby", first: 50) { edges { cursor node { score highlights event {
      name location { city halls { name } } ticketTypes { price { amount } } } } } } }"""
    data, errors = await answered(index, query, CompiledExecutor)
    assert (errors, len(data["searchEvents"]["edges"])) == ([], 50)
    assert made.count("Event") == 1, "one plan serves all rows"


async def test_an_error_in_a_row_is_told_with_its_place(index: EmbeddedBuilds, monkeypatch: pytest.MonkeyPatch) -> None:
    query = '{ searchEvents(search: "ruby", first: 3) { nodes { score event { duration } } } }'

    def broken(_: object) -> int:
        raise ValueError("no")

    field = KINDS["Event"].fields["duration"].extensions["strawberry-definition"]
    monkeypatch.setattr(field.base_resolver, "wrapped_func", broken)
    plain = await answered(index, query, None)
    assert await answered(index, query, CompiledExecutor) == plain
    assert plain[1][0]["path"] == ["searchEvents", "nodes", 0, "event", "duration"]
