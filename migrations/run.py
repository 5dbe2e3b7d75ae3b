"""Brings a database up to date: may run twice, and from several processes at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

# Any number that nobody else locks in this database.
_LOCK: Final = 0x4D7945


async def migrate(dsn: str) -> None:
    """Apply what is missing, in one transaction; `dsn` is `postgresql://...` of a role that may create roles."""
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=sa.NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(sa.text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def migrate_now(dsn: str) -> None:
    """`migrate` for callers without an event loop."""
    asyncio.run(migrate(dsn))
