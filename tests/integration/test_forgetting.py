"""Answers under old keys are forgotten, others are kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from command.forgetting import KEPT, Forgetting
from command.service import Caller
from myevents.store import open_pool
from tests.command_side import an_event, book, booking_id, command_side, seats_in_log


async def test_a_key_is_remembered_for_days_and_then_forgotten(database_url: str) -> None:
    caller = Caller(user_id="usr_ann", idempotency_key="a week ago")
    pool = await open_pool(database_url)
    async with command_side(database_url) as service:
        event = await an_event(service)
        first = await book(service, event, 2, caller)
        assert await Forgetting(pool).forget() == 0
        assert booking_id(await book(service, event, 2, caller)) == booking_id(first)
        await pool.execute(
            "update command_answers set recorded_at = recorded_at - $1::interval", KEPT + timedelta(minutes=1)
        )
        assert await Forgetting(pool).forget() == 1
        assert booking_id(await book(service, event, 2, caller)) != booking_id(first)
    await pool.close()
    assert await seats_in_log(database_url, event) == 4


@pytest.mark.parametrize(
    ("table", "key"), [("command_answers", "sha256(n::text::bytea), 0"), ("idempotency", "'usr_ann', n::text")]
)
async def test_several_processes_forget_side_by_side(database_url: str, table: str, key: str) -> None:
    pool = await open_pool(database_url)
    await pool.execute(
        f"""insert into {table} select {key}, '', '', now() - make_interval(days => n % 2 * 8)
            from generate_series(1, 20000) n"""
    )
    assert sum(await asyncio.gather(*(Forgetting(pool).forget() for _ in range(4)))) == 10_000
    assert await pool.fetchval(f"select count(*) from {table}") == 10_000
    await pool.close()
