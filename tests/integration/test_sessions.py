"""Every session of ours sets what it relies on, whatever its server, database, role or address say."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

import migrations.run
from myevents.databases import Server, connections
from myevents.store import open_pool
from schema.sessions import SESSION_SETTINGS

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-5",
    "default_transaction_isolation": "serializable",
    "search_path": "pg_catalog",
    "client_encoding": "LATIN1",
}
"""What a server's owner may have set for everybody."""


@asynccontextmanager
async def a_database_of_another_kind(database_url: str) -> AsyncIterator[str]:
    """A role whose defaults, and the database's, and those in the address are not ours: its address."""
    parts = urlsplit(database_url)
    name, role = parts.path.removeprefix("/"), f"role_{uuid4().hex}"
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute(f"create role {role} superuser login password 'secret'")
        for setting, value in ELSEWHERE.items():
            await owner.execute(f"alter database {name} set {setting} = '{value}'")
            await owner.execute(f"alter role {role} set {setting} = '{value}'")
        query = f"{parts.query}&" if parts.query else ""
        host = parts.netloc.rpartition("@")[2]
        address = parts._replace(netloc=f"{role}:secret@{host}", query=f"{query}TimeZone=Asia/Kathmandu")
        yield address.geturl()
    finally:
        await owner.execute(f"drop role {role}")
        await owner.close()


SETTINGS = "select lower(name), setting from pg_settings where lower(name) = any($1)"


def _expected() -> dict[str, str]:
    return {**SESSION_SETTINGS, "client_encoding": "UTF8"}


async def test_sessions_of_services_set_what_they_rely_on(database_url: str, stack: AsyncExitStack) -> None:
    url = await stack.enter_async_context(a_database_of_another_kind(database_url))
    stranger = await asyncpg.connect(url)
    assert await stranger.fetchval("select current_setting('timezone')") == "Asia/Kathmandu"
    await stranger.close()
    pool = await open_pool(url, size=1)
    stack.push_async_callback(pool.close)
    watched = await stack.enter_async_context(connections(Server(url=url, setting="MYEVENTS_DATABASE_URL"), size=1))
    for each in (pool, watched):
        rows = await each.fetch(SETTINGS, list(_expected()))
        assert {row[0]: row[1] for row in rows} == _expected()


async def test_sessions_of_migrations_set_what_they_rely_on(
    database_url: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = dict[str, str]()

    def look(connection: sa.Connection) -> None:
        names = sa.bindparam("names", list(_expected()), type_=sa.ARRAY(sa.Text))
        statement = sa.text("select lower(name), setting from pg_settings where lower(name) = any(:names)")
        for name, value in connection.execute(statement.bindparams(names)):
            seen[name] = value

    monkeypatch.setattr(migrations.run, "_upgrade", look)
    await migrations.run.migrate(await stack.enter_async_context(a_database_of_another_kind(database_url)))
    assert seen == _expected()


def test_whatever_opens_a_session_gives_it_our_settings() -> None:
    openers = list[str]()
    for folder in ("benchmarks", "command", "migrations", "myevents", "projector", "query"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                of = node.func.value
                if isinstance(of, ast.Name) and of.id == "asyncpg" and node.func.attr in ("connect", "create_pool"):
                    given = [ast.unparse(word.value) for word in node.keywords if word.arg == "server_settings"]
                    assert given, f"{path}:{node.lineno}"
                    assert "SESSION_SETTINGS" in given[0], f"{path}:{node.lineno}"
                    openers.append(path.name)
    assert {"store.py", "run.py", "hot_event.py"} <= set(openers)
