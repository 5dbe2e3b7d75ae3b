"""A writer that has to end answers everybody at once, and truly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from command.inputs import BookingInput
from command.service import CommandService
from command.writer import Writer
from myevents.errors import ErrorCode, Refused, StoreUnavailable
from myevents.store import open_pool
from myevents.telemetry.commands import CommandMetrics
from schema.ids import partition_of
from schema.tables import PARTITIONS
from tests.command_side import ANN, an_event, facts_in_log


async def until(found: Callable[[], bool]) -> None:
    """Let others on until that is so."""
    async with asyncio.timeout(10):
        while not found():  # noqa: ASYNC110 - a metric tells, and nothing else
            await asyncio.sleep(0)


async def test_who_waits_is_refused_and_whose_round_is_under_way_is_told_that_its_end_is_not_known(
    database_url: str,
) -> None:
    pool, registry = await open_pool(database_url), CollectorRegistry()
    async with Writer(pool, PARTITIONS, metrics=CommandMetrics(registry)) as writer:
        service = CommandService(writer)
        event = await an_event(service)
        before = await facts_in_log(database_url)
        partition = partition_of(event, PARTITIONS)

        def waiting() -> float | None:
            return registry.get_sample_value("myevents_command_queue_depth", {"partition": str(partition)})

        other = await asyncpg.connect(database_url)
        async with other.transaction():
            await other.execute("select from heads where partition = $1 for update", partition)
            first = asyncio.create_task(service.book_seats(ANN, event, BookingInput(seats=1)))
            await until(lambda: waiting() == 1)
            await until(lambda: waiting() == 0)
            second = asyncio.create_task(service.book_seats(ANN, event, BookingInput(seats=1)))
            await until(lambda: waiting() == 1)
            writer.give_up()
            with pytest.raises(StoreUnavailable, match="same Idempotency-Key"):
                await first
            with pytest.raises(Refused) as refused:
                await second
            assert refused.value.code is ErrorCode.OVERLOADED
            with pytest.raises(Refused):
                await service.book_seats(ANN, event, BookingInput(seats=1))
        await other.close()
    await pool.close()
    assert await facts_in_log(database_url) == before
