"""Whatever was recorded, and in whatever batches and order of partitions it is applied, the rows are what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command.streams import AnyCommand
from command.writer import Writer
from myevents.log.store import StoreLog
from myevents.store import open_pool
from projector.run import Projector
from projector.verify import verify
from schema.facts import RecordedFact, UnreadableFact
from schema.tables import PARTITIONS
from tests.conftest import in_database
from tests.random_cases import cases
from tests.wishes import BEGINNINGS, COMMANDS, live_through

Turn = tuple[int, int, int]
"""A partition (by its place among those that have facts), how many facts more it shows, and which projectors look."""


class Unfolding:
    """A log of which only so much has come yet, read a few facts at a time."""

    def __init__(self, log: StoreLog, batch: int) -> None:
        self._log = log
        self._batch = batch
        self.shown = dict.fromkeys(range(log.partitions), 0)
        self.partitions = log.partitions

    async def read(self, partition: int, after: int, limit: int = 1000) -> list[RecordedFact | UnreadableFact]:
        """What is shown, a batch at most."""
        limit = min(limit, self._batch, self.shown[partition] - after)
        return await self._log.read(partition, after, limit) if limit > 0 else []

    async def read_stream(
        self, stream_id: str, after_version: int = 0, limit: int = 1000
    ) -> list[RecordedFact | UnreadableFact]:
        """As the log has it."""
        return await self._log.read_stream(stream_id, after_version, limit)

    async def heads(self) -> dict[int, int]:
        """What is shown."""
        return dict(self.shown)

    async def seen(self) -> dict[int, int]:
        """What is shown."""
        return dict(self.shown)

    async def ahead(self, checkpoints: Mapping[int, int]) -> dict[int, int]:
        """What is shown, of all that is asked for."""
        return {partition: self.shown[partition] for partition in checkpoints}

    async def changed(self, timeout: float) -> None:
        """As the log has it."""
        await self._log.changed(timeout)


TURNS: st.SearchStrategy[list[Turn]] = st.lists(
    st.tuples(st.integers(0, 15), st.integers(1, 9), st.integers(1, 3)), max_size=12
)


@given(
    beginning=BEGINNINGS, commands=st.lists(COMMANDS, min_size=30, max_size=80), turns=TURNS, batch=st.integers(1, 6)
)
@settings(
    max_examples=cases(25), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_rows_equal_the_log_at_every_step_of_every_interleaving(
    postgres_url: str,
    template: str,
    beginning: Sequence[AnyCommand],
    commands: Sequence[AnyCommand],
    turns: Sequence[Turn],
    batch: int,
) -> None:
    asyncio.run(_unfold(postgres_url, template, [*beginning, *commands], turns, batch))


async def _unfold(
    server: str, template: str, commands: Sequence[AnyCommand], turns: Sequence[Turn], batch: int
) -> None:
    async with _database(server, template) as pool:
        async with Writer(pool, PARTITIONS) as writer:
            await live_through(writer, commands)
        log = StoreLog(pool, PARTITIONS)
        heads = await log.heads()
        filled = sorted(partition for partition, head in heads.items() if head)
        unfolding = Unfolding(log, batch)
        projectors = [Projector(log=unfolding, pool=pool) for _ in range(2)]
        await projectors[0].prepare()
        for number, (partition, facts, who) in enumerate(turns):
            chosen = filled[partition % len(filled)]
            unfolding.shown[chosen] = min(unfolding.shown[chosen] + facts, heads[chosen])
            await asyncio.gather(*(_caught_up(each) for bit, each in enumerate(projectors) if who & 1 << bit))
            if number % 4 == 0:
                assert await verify(log=log, pool=pool) == []
        unfolding.shown = heads
        await asyncio.gather(*map(_caught_up, projectors))
        assert await verify(log=log, pool=pool, strict=True) == []


async def _caught_up(projector: Projector) -> None:
    """Two that meet at a lock try again, as they do when they run."""
    while True:
        try:
            await projector.catch_up()
        except asyncpg.DeadlockDetectedError:
            continue
        return


@asynccontextmanager
async def _database(server: str, template: str) -> AsyncIterator[asyncpg.Pool]:
    """A database for one history."""
    name = f"history_{uuid4().hex}"
    owner = await asyncpg.connect(server)
    await owner.execute(f"create database {name} template {template}")
    pool = await open_pool(in_database(server, name))
    try:
        yield pool
    finally:
        await pool.close()
        await owner.execute(f"drop database {name} with (force)")
        await owner.close()
