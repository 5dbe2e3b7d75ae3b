"""Brings a database up to date: may run twice, and from several processes at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import asyncpg
import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from schema.sessions import SESSION_SETTINGS

# Any number that nobody else locks in this database.
_LOCK: Final = 0x4D7945

_PATIENCE: Final = 10.0
"""Seconds that a connection may take to be made."""

VERSION_TABLE: Final = "schema_revision"
"""Where the revision of the schema is kept. The first release kept it in `alembic_version`, and refuses to start on a
revision there that it does not know; so that table stays at the last one that it knows."""

_FIRST_RELEASE_TABLE: Final = "alembic_version"
_FIRST_RELEASE_REVISION: Final = "0003"

_INSUFFICIENT_PRIVILEGE: Final = "42501"

_log = structlog.get_logger()


class MayNotMigrate(Exception):
    """Migrations are missing, and the login has not the rights that they need."""


async def migrate(dsn: str) -> None:
    """Apply what is missing, in one transaction; `dsn` is `postgresql://...` of a role that may create roles.

    Any login will do where nothing is missing; else raises `MayNotMigrate` for one that has not the rights. Raises
    `OSError` or asyncpg's errors where the database is away, and where it goes away meanwhile.
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
        if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            raise MayNotMigrate from error
        raise
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    kept = _revision_in(connection, VERSION_TABLE)
    current = kept or _revision_in(connection, _FIRST_RELEASE_TABLE)
    if current == scripts.get_current_head() and kept:
        return
    if current is not None and current not in known:
        # A later release migrated it, and migrations only add: what this one needs is there.
        _log.warning("database_is_newer", revision=current, known=scripts.get_current_head())
        return
    if current is not None and kept is None:
        _set_revision(connection, VERSION_TABLE, current)
    command.upgrade(config, "head")
    _set_revision(connection, _FIRST_RELEASE_TABLE, _FIRST_RELEASE_REVISION)


def _revision_in(connection: sa.Connection, table: str) -> str | None:
    """The revision that `table` names; None where there is no such table, or nothing in it."""
    if connection.scalar(sa.text("select to_regclass(:name)"), {"name": table}) is None:
        return None
    revision: str | None = connection.scalar(sa.text(f"select version_num from {table}"))
    return revision


def _set_revision(connection: sa.Connection, table: str, revision: str) -> None:
    """Let `table` name that revision, as Alembic would write it."""
    connection.execute(sa.text(f"create table if not exists {table} (version_num varchar(32) primary key)"))
    connection.execute(sa.text(f"delete from {table} where version_num <> :revision"), {"revision": revision})
    connection.execute(
        sa.text(f"insert into {table} values (:revision) on conflict do nothing"), {"revision": revision}
    )


def migrate_now(dsn: str) -> None:
    """`migrate` for callers without an event loop."""
    asyncio.run(migrate(dsn))
