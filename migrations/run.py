"""Brings a database up to date: may run twice, and from several processes at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import asyncpg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

from schema.sessions import SESSION_SETTINGS

# Any number that nobody else locks in this database.
_LOCK: Final = 0x4D7945

_PATIENCE: Final = 10.0
"""Seconds that a connection may take to be made."""


async def migrate(dsn: str) -> None:
    """Apply what is missing, in one transaction; `dsn` is `postgresql://...` of a role that may create roles.

    Raises `OSError` or asyncpg's errors where the database is away, and where it goes away meanwhile.
    """

    async def connect() -> asyncpg.Connection:
        # By ourselves, since the driver takes URLs that SQLAlchemy does not, such as those of several hosts.
        return await asyncpg.connect(dsn, timeout=_PATIENCE, server_settings=dict(SESSION_SETTINGS))

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=sa.NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(sa.text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(_upgrade)
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise ConnectionError("the database went away while it was brought up to date") from error
        raise
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
