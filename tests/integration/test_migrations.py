"""A database is brought up to date once, and one that a later release has migrated is left as it is."""

from __future__ import annotations

import asyncio

import asyncpg
from structlog.testing import capture_logs

from migrations.run import migrate

_RELEASE_BEFORE = "0003"


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def _revisions(url: str) -> tuple[str, str]:
    """What this release and the one before read as the revision of the schema."""
    connection = await asyncpg.connect(url)
    ours = await connection.fetchval("select string_agg(version_num, ',') from schema_revision")
    before = await connection.fetchval("select string_agg(version_num, ',') from alembic_version")
    await connection.close()
    return ours, before


async def test_a_database_at_a_later_revision_is_not_migrated_and_that_is_warned_of(database_url: str) -> None:
    await _execute(database_url, "update schema_revision set version_num = '9999'")
    with capture_logs() as logs:
        await migrate(database_url)
    assert [(line["event"], line["revision"], line["log_level"]) for line in logs] == [
        ("database_is_newer", "9999", "warning")
    ]
    assert await _revisions(database_url) == ("9999", _RELEASE_BEFORE)


async def test_the_release_before_finds_the_last_revision_that_it_knows(database_url: str) -> None:
    ours, before = await _revisions(database_url)
    assert ours > _RELEASE_BEFORE
    assert before == _RELEASE_BEFORE
    await migrate(database_url)
    assert await _revisions(database_url) == (ours, _RELEASE_BEFORE)


async def test_processes_that_migrate_at_once_do_so_once(database_url: str) -> None:
    ours, _ = await _revisions(database_url)
    await asyncio.gather(*(migrate(database_url) for _ in range(4)))
    assert await _revisions(database_url) == (ours, _RELEASE_BEFORE)
