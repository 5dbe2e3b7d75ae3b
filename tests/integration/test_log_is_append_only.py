"""What the database itself promises of the log."""

from __future__ import annotations

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from migrations.run import migrate
from myevents.store import open_pool
from schema import read_tables, tables


@pytest.mark.parametrize("statement", ["update facts set seq = 1", "delete from facts", "truncate facts"])
async def test_neither_the_services_nor_the_owner_can_change_a_fact(database_url: str, statement: str) -> None:
    pool = await open_pool(database_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)
    await pool.close()
    owner = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute(statement)
    await owner.close()


async def test_migrating_again_changes_nothing_and_the_tables_are_those_of_the_schema(database_url: str) -> None:
    await migrate(database_url)
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(_differences)
    await engine.dispose()
    assert differences == []


def _differences(connection: sa.Connection) -> list[object]:
    registry = ("builds", "checkpoints", "parked_streams", "heartbeats", "secrets")
    known = sa.MetaData()
    for table in tables.metadata.tables.values():
        table.to_metadata(known)
    for name in registry:
        read_tables.metadata.tables[f"{read_tables.READ_SCHEMA}.{name}"].to_metadata(known)
    context = MigrationContext.configure(connection, opts={"include_schemas": True, "include_object": _ours})
    found: list[object] = compare_metadata(context, known)
    return found


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    return not (kind == "table" and name in ("alembic_version", "schema_revision"))
