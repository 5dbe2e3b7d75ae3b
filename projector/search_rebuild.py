"""Fills a new index beside the one that serves, compares the two, and swaps; the old one stays until dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncpg

from myevents.log.port import Log
from myevents.search.port import SearchBuilds, SearchIndex
from projector.rebuild import BuildsDiffer, Progress, RebuildStopped
from projector.search import NAME, alone, take, tell
from schema.read_models import EventRow

_SHOWN: Final = 20


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
    async with alone(pool) as connection:
        # Whoever writes the live index waits from here on, queries do not: nobody sees it go back in time.
        live = await builds.live()
        await live.refresh()
        checkpoints = await live.checkpoints()
        await _bring(new, log, checkpoints, progress)
        differences = await _differences(live, new)
        if differences and not force:
            raise BuildsDiffer(NAME, differences)
        await builds.serve(build)
        await tell(connection, await new.checkpoints())
        await connection.execute("delete from read.parked_streams where model = $1", NAME)
    return differences


async def go_back(log: Log, pool: asyncpg.Pool, builds: SearchBuilds) -> None:
    """Let the newest old index serve again, as of now; raises `RebuildStopped` where there is none."""
    older = [build for build in builds.existing() if build < builds.serving()]
    if not older:
        raise RebuildStopped("search has no old index to go back to")
    old = await builds.open(older[-1])
    await _bring(old, log, await log.heads(), lambda _done, _total: None)
    async with alone(pool) as connection:
        live = await builds.live()
        await live.refresh()
        await _bring(old, log, await live.checkpoints(), lambda _done, _total: None)
        await builds.serve(older[-1])
        await tell(connection, await old.checkpoints())


async def drop_old(pool: asyncpg.Pool, builds: SearchBuilds) -> list[int]:
    """Delete the indexes that do not serve, after which there is no going back; their numbers."""
    async with alone(pool):
        others = [build for build in builds.existing() if build != builds.serving()]
        for build in others:
            await builds.drop(build)
        return others


async def _bring(index: SearchIndex, log: Log, targets: Mapping[int, int], progress: Progress) -> None:
    total = sum(targets.values())
    done = sum((await index.checkpoints()).values())
    progress(done, total)
    while True:
        taken = await take(index, log, targets, ())
        if taken.parked:
            first = taken.parked[0]
            raise RebuildStopped(f"search: {first.partition}:{first.seq} of {first.stream_id}: {first.reason}")
        if not taken.facts:
            return
        done += taken.facts
        progress(done, total)


async def _differences(live: SearchIndex, new: SearchIndex) -> list[str]:
    """Events that the two do not share; at most 20."""
    old_rows, new_rows = await live.all_events(), await new.all_events()
    wrong = sorted(key for key in old_rows.keys() | new_rows.keys() if old_rows.get(key) != new_rows.get(key))
    return [f"event {key} {_how(key, old_rows, new_rows)}" for key in wrong[:_SHOWN]]


def _how(key: str, old: Mapping[str, EventRow], new: Mapping[str, EventRow]) -> str:
    if key in old and key in new:
        return "changed"
    return f"only in the {'live' if key in old else 'new'} index"
