"""Highlights of a page of hits: within a budget of the request, and off the event loop where texts are long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from graphql import GraphQLResolveInfo

from myevents.search.highlights import HighlightBudget, highlights
from myevents.search.port import SearchPage
from myevents.search.text import searched
from myevents.search.words import Asked
from query.graphql.asked_fields import field_names
from schema.read_models import EventRow

LOOP_CHARACTERS: Final = 4000
"""Characters of the texts of a page that are looked through on the event loop; longer ones keep a thread busy."""

# One for all requests: more would share the interpreter with each other, and leave the event loop less of it.
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="highlights")


async def highlight_page(
    page: SearchPage, asked: Asked, budget: HighlightBudget, info: GraphQLResolveInfo[Any]
) -> Sequence[list[str]]:
    """Return the highlights of each hit, made once for all aliases; none where they are not asked for."""
    rows = [hit.event for hit in page.hits]
    if "highlights" not in field_names(info):
        return [[] for _ in rows]
    if sum(map(_count_characters, rows)) <= LOOP_CHARACTERS:
        return _highlight(rows, asked, page.forgiving, budget)
    work = partial(_highlight, rows, asked, page.forgiving, budget)
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)


def _highlight(rows: Sequence[EventRow], asked: Asked, forgiving: bool, budget: HighlightBudget) -> list[list[str]]:
    return [highlights(row, asked, forgiving=forgiving, budget=budget) for row in rows]


def _count_characters(row: EventRow) -> int:
    """Return how many characters are looked through for the highlights of an event."""
    return sum(map(len, searched(row).values()))
