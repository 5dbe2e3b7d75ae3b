"""Which fields a request asks for below the one that is resolved, so that no more is read than is shown."""

from __future__ import annotations

from typing import Any

from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, SelectionSetNode

from query.paging import Halls


def halls_asked_for(info: Any) -> Halls:
    """Return which halls of the rows' locations are asked for anywhere below the field of `info`."""
    names = field_names(info._raw_info)
    if "halls" in names:
        return "all"
    return "own" if "hall" in names else "none"


def field_names(info: GraphQLResolveInfo[Any]) -> set[str]:
    """Return the names of all fields below, each fragment looked at once, whatever directives say."""
    names: set[str] = set()
    spread: set[str] = set()
    waiting: list[SelectionSetNode | None] = [node.selection_set for node in info.field_nodes]
    while waiting:
        selection_set = waiting.pop()
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name in spread:
                    continue
                spread.add(name)
                waiting.append(info.fragments[name].selection_set)
            else:
                if isinstance(selection, FieldNode):
                    names.add(selection.name.value)
                waiting.append(getattr(selection, "selection_set", None))
    return names
