"""One step of `benchmarks.rebuild` as a process of its own, so that its memory is its own: prints what it took.

python -m benchmarks.rebuilding STEP URL DIRECTORY: STEP is `follow`, `verify`, `search` or a read model.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from msgspec import Struct

from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from projector.audit import Audited, audit
from projector.fold import FOLDS
from projector.rebuild import rebuild
from projector.run import Projector, read_models
from projector.search import SearchProjector
from projector.search_rebuild import rebuild_search
from projector.search_verify import verify_search
from projector.verify import verify
from schema.tables import PARTITIONS


class Took(Struct, frozen=True, kw_only=True):
    """Seconds of the step, and of what comes `after` it; of the processor, in all, by this process and by the server's
    that worked for it (0 where the server is elsewhere); MiB of memory at most; what was wrong.
    """

    seconds: float
    after: float = 0.0
    ours: float = 0.0
    servers: float = 0.0
    peak: int = 0
    problems: list[str] = []


Step = Callable[[StoreLog, asyncpg.Pool, Path], Awaitable[Took]]


async def follow(log: StoreLog, pool: asyncpg.Pool, _: Path) -> Took:
    """Let the read models catch up from nothing, as a projector does."""
    projector = Projector(log=log, pool=pool)
    await projector.prepare()
    started = time.perf_counter()
    await projector.catch_up()
    return Took(seconds=time.perf_counter() - started)


def replay(name: str) -> Step:
    """Rebuild that model; after the replay, it is compared and swapped."""
    (model,) = [each for each in read_models() if each.name == name]

    async def step(log: StoreLog, pool: asyncpg.Pool, _: Path) -> Took:
        marks: list[float] = []
        await rebuild(model, log, pool, lambda _done, _total: marks.append(time.perf_counter()))
        return Took(seconds=marks[-1] - marks[0], after=time.perf_counter() - marks[-1])

    return step


async def search(log: StoreLog, pool: asyncpg.Pool, directory: Path) -> Took:
    """Rebuild the search index, and hold it against the log."""
    builds = EmbeddedBuilds(directory)
    searcher = SearchProjector(log=log, pool=pool, builds=builds)
    await searcher.prepare()
    await searcher.catch_up()
    started = time.perf_counter()
    await rebuild_search(log, pool, builds, lambda _done, _total: None)
    rebuilt = time.perf_counter()
    problems = await verify_search(log=log, pool=pool, builds=builds)
    verified = time.perf_counter()
    await builds.close()
    return Took(seconds=rebuilt - started, after=verified - rebuilt, problems=problems)


async def verified(log: StoreLog, pool: asyncpg.Pool, _: Path) -> Took:
    """Verify, and the audit in SQL that is a part of it once more alone."""
    started = time.perf_counter()
    problems = await verify(log=log, pool=pool, strict=True)
    ended = time.perf_counter()
    async with pool.acquire() as facts, facts.transaction(), pool.acquire() as rows, rows.transaction():
        for connection in (facts, rows):
            await connection.execute("set local idle_in_transaction_session_timeout = 0")
        builds = await rows.fetch("select model, build from read.builds where state = 'live'")
        heads = await log.heads()
        await audit(facts, rows, [Audited(model, build, heads, {}) for model, build in builds if model in FOLDS])
    return Took(seconds=ended - started, after=time.perf_counter() - ended, problems=problems)


async def took(step: Step, url: str, directory: Path) -> Took:
    """Do the step, and tell what it took."""
    pool = await open_pool(url, size=16)
    log = StoreLog(pool, PARTITIONS)
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = await step(log, pool, directory)
    used = resource.getrusage(resource.RUSAGE_SELF)
    ours = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    servers = await _of_the_server(pool)
    await log.close()
    await pool.close()
    return msgspec.structs.replace(found, ours=ours, servers=servers, peak=used.ru_maxrss // 1024)


async def _of_the_server(pool: asyncpg.Pool) -> float:
    """Seconds of the processor that the server's processes behind `pool` have used, where it is on this machine."""
    rows = await pool.fetch("select pid from pg_stat_activity where datname = current_database()")
    return sum(_used(row[0]) for row in rows)


def _used(pid: int) -> float:
    """Seconds of the processor that a process has used; 0 where it is not to be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step")
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    given = parser.parse_args()
    steps: dict[str, Step] = {"follow": follow, "search": search, "verify": verified}
    chosen = steps.get(given.step) or replay(given.step)
    print(msgspec.json.encode(uvloop.run(took(chosen, given.url, given.directory))).decode())
