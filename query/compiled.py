"""Runs what a list selects of each of its rows by a plan made once, where no field of it needs to be awaited.

graphql-core walks every field of every object: arguments, path, info, completion. A page of a list asks the same of
each of its objects, so what is to be done is found out at the first one. Whatever a plan cannot say (arguments,
resolvers that wait or need more than their object, interfaces), and whatever fails in it, is the standard executor's,
which is also the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from graphql import (
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    Undefined,
    is_leaf_type,
    is_object_type,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

Plan = Callable[[Any], Any]
_FIELD: Final = "strawberry-definition"


class Unplanned(Exception):
    """The selection, or a value met on the way, is for the standard executor."""


class CompiledExecutor(StrawberryGraphQLCoreExecutionContext):
    """Of one operation; so variables, fragments and directives are settled before a plan is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans: dict[int, tuple[Any, Plan | None]] = {}

    def execute_fields(
        self, parent_type: GraphQLObjectType, source_value: Any, path: Any, grouped_field_set: Any, *rest: Any
    ) -> Any:
        """The fields of one object: by plan, or as usual."""
        # The field set is kept with its plan, so that no other can come to have its id.
        _, plan = self._plans.get(id(grouped_field_set)) or self._planned(parent_type, grouped_field_set)
        if plan is not None:
            try:
                return plan(source_value)
            except Exception:
                self._plans[id(grouped_field_set)] = (grouped_field_set, None)
        return super().execute_fields(parent_type, source_value, path, grouped_field_set, *rest)

    def _planned(self, kind: GraphQLObjectType, fields: Any) -> tuple[Any, Plan | None]:
        try:
            plan = self._object(kind, fields) if kind is not self.schema.query_type else None
        except Unplanned:
            plan = None
        self._plans[id(fields)] = (fields, plan)
        return fields, plan

    def _object(self, kind: GraphQLObjectType, fields: Any) -> Plan:
        steps = [(response_name, *self._field(kind, details)) for response_name, details in fields.items()]

        def planned(source: Any) -> dict[str, Any]:
            return {name: complete(get(source)) for name, get, complete in steps}

        return planned

    def _field(self, kind: GraphQLObjectType, details: Any) -> tuple[Plan, Plan]:
        """How to get a field's value from its object, and how to make it an answer."""
        node = details[0].node
        if node.name.value == "__typename":
            return (lambda _: kind.name), _text
        field = kind.fields.get(node.name.value)
        definition = field.extensions.get(_FIELD) if field is not None else None
        if field is None or node.arguments or not isinstance(definition, StrawberryField) or definition.extensions:
            raise Unplanned
        return _getter(definition), self._completed(field.type, details)

    def _completed(self, kind: GraphQLOutputType, details: Any) -> Plan:
        if isinstance(kind, GraphQLNonNull):
            inside = self._completed(kind.of_type, details)

            def required(value: Any) -> Any:
                if value is None:
                    raise Unplanned
                return inside(value)

            return required
        filled = self._filled(kind, details)
        return lambda value: None if value is None else filled(value)

    def _filled(self, kind: GraphQLOutputType, details: Any) -> Plan:
        """How to make an answer of a value that is not None."""
        if isinstance(kind, GraphQLList):
            each = self._completed(kind.of_type, details)
            return lambda values: [each(value) for value in values]
        if is_leaf_type(kind):
            return _leaf(kind)
        if not is_object_type(kind):
            raise Unplanned
        fields, deferred, *_ = self.collect_subfields(kind, details)
        if deferred:
            raise Unplanned
        return self._object(kind, fields)


def _getter(definition: StrawberryField) -> Plan:
    resolver = definition.base_resolver
    if resolver is None:
        return attrgetter(definition.python_name)
    alone = not resolver.arguments and resolver.info_parameter is None and resolver.self_parameter is not None
    if resolver.is_async or not alone:
        raise Unplanned
    function: Plan = resolver.wrapped_func  # type: ignore[assignment]
    return function


def _leaf(kind: GraphQLLeafType) -> Plan:
    coerce = kind.coerce_output_value

    def coerced(value: Any) -> Any:
        made = coerce(value)
        if made is None or made is Undefined:
            raise Unplanned
        return made

    if kind is GraphQLString:
        return lambda value: value if type(value) is str else coerced(value)
    return coerced


def _text(value: Any) -> Any:
    return value
