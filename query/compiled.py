"""Runs what a list selects of each of its rows by a plan made once, where no field of it needs to be awaited.

graphql-core walks every field of every object: arguments, path, info, completion. A page of a list asks the same of
each of its objects, so what is to be done is found out at the first one. Whatever a plan cannot say (arguments,
resolvers that wait or need more than their object, interfaces), and whatever fails in it, is the standard executor's,
which is also the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Any, Final

from graphql import (
    GraphQLError,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    Undefined,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_non_null_type,
    is_object_type,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

Plan = Callable[[Any], Any]
_FIELD: Final = "strawberry-definition"
_PAGE_ROWS: Final = {"edges", "nodes"}
_LEFT_OUT: Final = object()


class Unplanned(Exception):
    """The selection, or a value met on the way, is for the standard executor."""


class UnservableValue(GraphQLError):
    """A stored value is none of its field's type; the message does not repeat it."""

    def __init__(self) -> None:
        super().__init__("The stored value cannot be shown.")


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
            except UnservableValue:
                # This object's own: the plan is good for others.
                pass
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
        if is_page_rows(kind, node.name.value):
            return _getter(definition), self._page_rows(kind, field.type, details)
        return _getter(definition), self._completed(field.type, details)

    def _page_rows(self, kind: GraphQLObjectType, listed: GraphQLOutputType, details: Any) -> Plan:
        """Return how to make an answer of a page's rows, without those that hold what cannot be shown."""
        each = self._completed(get_nullable_type(listed).of_type, details)  # type: ignore[union-attr]

        def rows(values: Any) -> list[Any]:
            found = []
            for value in values:
                try:
                    found.append(each(value))
                except UnservableValue as error:
                    self._leave_out(kind, value, error)
            return found

        return rows

    def complete_iterable_value(
        self, item_type: Any, field_details_list: Any, info: Any, path: Any, items: Any, position_context: Any
    ) -> Any:
        """Complete a list; of a page's, leave out the rows that hold what cannot be shown."""
        completed = super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)
        if not is_page_rows(info.parent_type, info.field_name):
            return completed
        if isinstance(completed, list):
            return [item for item in completed if item is not _LEFT_OUT]

        async def awaited() -> list[Any]:
            return [item for item in await completed if item is not _LEFT_OUT]

        return awaited()

    def complete_list_item_value(
        self,
        item: Any,
        complete_results: list[Any],
        item_type: Any,
        field_details_list: Any,
        info: Any,
        item_path: Any,
        position_context: Any,
    ) -> bool:
        """Complete an item; in a page, mark a row that holds what cannot be shown."""
        rest = (item_type, field_details_list, info, item_path, position_context)
        if not is_page_rows(info.parent_type, info.field_name):
            return super().complete_list_item_value(item, complete_results, *rest)
        try:
            if not super().complete_list_item_value(item, complete_results, *rest):
                return False
        except GraphQLError as error:
            complete_results.append(self._marked(info, item, error))
            return False
        complete_results[-1] = self._row_awaited(info, item, complete_results[-1])
        return True

    def handle_field_error(self, raw_error: Exception, return_type: Any, field_details_list: Any, path: Any) -> None:
        """Answer null, without an error, where a stored value cannot be shown and null can; else raise or collect."""
        if is_non_null_type(return_type) or not is_unservable(raw_error):
            super().handle_field_error(raw_error, return_type, field_details_list, path)
        else:
            self._count_null(return_type, raw_error)

    def _count_null(self, kind: Any, error: Exception) -> None:
        self.context_value.reads.left_out.count("value", get_named_type(kind).name, error)

    async def _row_awaited(self, info: Any, item: Any, completing: Awaitable[Any]) -> Any:
        try:
            return await completing
        except GraphQLError as error:
            return self._marked(info, item, error)

    def _marked(self, info: Any, item: Any, error: GraphQLError) -> object:
        """Count a row to be left out; raises `error` where it is about anything but a stored value."""
        if not is_unservable(error):
            raise error
        self._leave_out(info.parent_type, item, error)
        return _LEFT_OUT

    def _leave_out(self, kind: GraphQLObjectType, item: Any, error: Exception) -> None:
        row = getattr(item, "node", item)
        row_id = getattr(row, "id", None) or getattr(getattr(row, "event", None), "id", None)
        self.context_value.reads.left_out.count(kind.name.removesuffix("Connection"), row_id, error)

    @staticmethod
    def complete_leaf_value(return_type: GraphQLLeafType, result: Any) -> Any:
        """Complete a leaf; raises `UnservableValue` for what is none of its type."""
        try:
            return StrawberryGraphQLCoreExecutionContext.complete_leaf_value(return_type, result)
        except Exception as error:
            raise UnservableValue from error

    def _completed(self, kind: GraphQLOutputType, details: Any) -> Plan:
        if isinstance(kind, GraphQLNonNull):
            inside = self._filled(kind.of_type, details)

            def required(value: Any) -> Any:
                if value is None:
                    raise Unplanned
                return inside(value)

            return required
        filled = self._filled(kind, details)

        def optional(value: Any) -> Any:
            if value is None:
                return None
            try:
                return filled(value)
            except UnservableValue as error:
                self._count_null(kind, error)
                return None

        return optional

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


def is_page_rows(kind: GraphQLObjectType, name: str) -> bool:
    """Return whether a field holds the rows of a page."""
    return name in _PAGE_ROWS and "pageInfo" in kind.fields


def is_unservable(error: BaseException | None) -> bool:
    """Return whether an error of a field, or what it was made of, is about a stored value."""
    while isinstance(error, GraphQLError):
        if isinstance(error, UnservableValue):
            return True
        error = error.original_error
    return False


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
        try:
            made = coerce(value)
        except Exception as error:
            raise UnservableValue from error
        if made is None or made is Undefined:
            raise UnservableValue
        return made

    if kind is GraphQLString:
        return lambda value: value if type(value) is str else coerced(value)
    return coerced


def _text(value: Any) -> Any:
    return value
