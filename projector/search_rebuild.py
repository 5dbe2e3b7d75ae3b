"""Fills a new index beside the one that serves, compares the two, and swaps; the old one stays until dropped."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from typing import Final

import asyncpg
import msgspec

from myevents.log.port import Log
from myevents.search.port import SearchBuilds, SearchIndex, SearchUnavailable
from projector.rebuild import BuildsDiffer, Progress, RebuildStopped
from projector.search_folding import take
from projector.search_registry import NAME, UPKEEP_WAIT, alone, set_aside, tell
from schema.read_models import EventRow

_SHOWN: Final = 20

_BATCH: Final = 20_000
"""Facts folded before their rows are written: the more, the fewer rows are written over and over."""


async def rebuild_search(
    log: Log, pool: asyncpg.Pool, builds: SearchBuilds, progress: Progress, *, force: bool = False
) -> list[str]:
    """Replay the log into a new index and let it serve; `progress` gets the facts done and all of them.

    Goes on where a killed rebuild stopped. Returns the differences that `force` overruled; without it, raises
    `BuildsDiffer`. Raises `RebuildStopped`, naming the fact, where one cannot be taken in.
    """
    build = await builds.begin()
    new = await builds.open(build)
    # The live index is what the new one is compared with, so it never runs ahead of it.
    await _bring(new, log, await (await builds.live()).checkpoints(), progress)
    async with alone(pool, wait=UPKEEP_WAIT) as connection:
        # Whoever writes the live index waits from here on, queries do not: nobody sees it go back in time.
        live = await builds.live()
        await live.refresh()
        # Rows go before checkpoints: who was killed in between left rows that are ahead of them.
        targets = await log.heads() if await _may_write(live) else await live.checkpoints()
        await _bring(new, log, targets, progress)
        await _bring(live, log, targets, progress, parked=await set_aside(connection))
        differences = await _differences(live, new)
        if differences and not force:
            raise BuildsDiffer(NAME, differences)
        await builds.serve(build)
        await tell(connection, await new.checkpoints())
        await connection.execute("delete from read.parked_streams where model = $1", NAME)
    return differences


async def go_back(log: Log, pool: asyncpg.Pool, builds: SearchBuilds) -> None:
    """Let the newest old index serve again, as of now; raises `RebuildStopped` where there is none."""
    serving = await builds.serving()
    older = [build for build in await builds.existing() if build < serving]
    if not older:
        raise RebuildStopped("search has no old index to go back to")
    old = await builds.open(older[-1])
    await _bring(old, log, await log.heads(), lambda _done, _total: None)
    async with alone(pool, wait=UPKEEP_WAIT) as connection:
        live = await builds.live()
        await live.refresh()
        await _bring(old, log, await live.checkpoints(), lambda _done, _total: None)
        await builds.serve(older[-1])
        await tell(connection, await old.checkpoints())


async def drop_old(pool: asyncpg.Pool, builds: SearchBuilds) -> list[int]:
    """Delete the indexes that do not serve, after which there is no going back; their numbers."""
    async with alone(pool, wait=UPKEEP_WAIT):
        serving = await builds.serving()
        others = [build for build in await builds.existing() if build != serving]
        for build in others:
            await builds.drop(build)
        return others


async def _may_write(index: SearchIndex) -> bool:
    """Whether we do; where another process has its lock, each of its writes is whole, and it keeps the index up."""
    try:
        await index.hold()
    except SearchUnavailable:
        return False
    return True


async def _bring(
    index: SearchIndex, log: Log, targets: Mapping[int, int], progress: Progress, *, parked: Collection[str] = ()
) -> None:
    total = sum(targets.values())
    done = sum((await index.checkpoints()).values())
    progress(done, total)
    while True:
        taken = await take(index, log, targets, parked, batch=_BATCH)
        if taken.parked:
            first = taken.parked[0]
            raise RebuildStopped(f"search: {first.partition}:{first.seq} of {first.stream_id}: {first.reason}")
        if not taken.facts:
            return
        done += taken.facts
        progress(done, total)


async def _differences(live: SearchIndex, new: SearchIndex) -> list[str]:
    """Events that the two do not share; at most 20. Both are read by id, a batch of each at a time."""
    wrong = list[str]()
    try:
        await _compare(live, new, wrong)
    except msgspec.MsgspecError:
        wrong.append("a row of the live index that cannot be read")
    return wrong


async def _compare(live: SearchIndex, new: SearchIndex, wrong: list[str]) -> None:
    """Add to `wrong` the events that the two do not share, until it has 20."""
    async with aclosing(_rows(live)) as old_rows, aclosing(_rows(new)) as new_rows:
        old, fresh = await anext(old_rows, None), await anext(new_rows, None)
        while (old or fresh) and len(wrong) < _SHOWN:
            if fresh is None or (old is not None and old.id < fresh.id):
                assert old is not None, "one of the two is there"
                wrong.append(f"event {old.id} only in the live index")
                old = await anext(old_rows, None)
            elif old is None or fresh.id < old.id:
                wrong.append(f"event {fresh.id} only in the new index")
                fresh = await anext(new_rows, None)
            else:
                if old != fresh:
                    wrong.append(f"event {old.id} changed")
                old, fresh = await anext(old_rows, None), await anext(new_rows, None)


async def _rows(index: SearchIndex) -> AsyncGenerator[EventRow, None]:
    async with aclosing(index.in_order()) as batches:
        async for rows in batches:
            for row in rows:
                yield row
