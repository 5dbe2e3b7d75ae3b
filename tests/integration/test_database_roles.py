"""Each service logs in as a role that may do what the service needs, and nothing gets it more."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from migrations.passwords import scram_verifier, set_passwords
from migrations.run import migrate
from myevents.databases import ReadDatabase, Server, connections
from myevents.errors import NotMigrated, SettingsError
from myevents.settings import Settings
from myevents.store import open_pool
from schema.tables import APP_ROLE, COMMAND_ROLE, PROJECTOR_ROLE, QUERY_ROLE, RELAY_ROLE, SERVICE_ROLES
from tests.conftest import in_database
from tests.private_postgres import private_postgres, told

_RIGHTS = """
select n.nspname || '.' || c.relname, p.name from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) as p (name)
where n.nspname in ('public', 'read') and c.relkind in ('r', 'v', 'm', 'p', 'f', 'S')
  and has_table_privilege($1, c.oid, p.name) and n.nspname || '.' || c.relname <> 'public.schema_revision'
"""

_WAYS_UP = (
    "reset role",
    "set role none",
    "set session authorization default",
    "reset session authorization",
)
"""What a session may always say, and what took it back to the owner before."""

_FORBIDDEN = (
    "set role postgres",
    f"set role {APP_ROLE}",
    "set session authorization postgres",
    "create role myevents_intruder",
    "alter role current_user superuser",
    f"grant {APP_ROLE} to current_user",
    "create table public.intruder (id int)",
    "create table read.intruder (id int)",
    "create schema intruder",
    "update facts set data = data",
    "delete from facts",
    "truncate facts",
    "alter table facts disable trigger all",
    "drop table facts",
    "update schema_revision set version_num = '0001'",
    "copy (select 1) to program 'true'",
)


def as_role(url: str, role: str) -> str:
    """The URL with another login; on the tests' servers nobody needs a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture
async def built_url(database_url: str) -> str:
    """A database with the first builds."""
    await _build(database_url)
    return database_url


async def _build(url: str) -> None:
    """Make the first builds and the secret, as the owner does."""
    server = Server(url=url, setting="MYEVENTS_DATABASE_URL")
    async with connections(server) as pool:
        await ReadDatabase(pool=pool, server=server, role=APP_ROLE, apart=False).prepare()


async def rights(url: str, role: str) -> dict[str, set[str]]:
    """What the role may do with tables and views of ours, by table."""
    owner = await asyncpg.connect(url)
    found: dict[str, set[str]] = {}
    for table, right in await owner.fetch(_RIGHTS, role):
        found.setdefault(table, set()).add(right)
    await owner.close()
    return found


@pytest.mark.parametrize("role", SERVICE_ROLES)
async def test_no_statement_gets_a_services_session_more_than_its_role_has(built_url: str, role: str) -> None:
    pool = await open_pool(as_role(built_url, role), role=role)
    async with pool.acquire() as session:
        for way in _WAYS_UP:
            await session.execute(way)
            assert await session.fetchval("select session_user || ' ' || current_user") == f"{role} {role}"
            for statement in _FORBIDDEN:
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError)):
                    await session.execute(statement)
    await pool.close()
    owner = await asyncpg.connect(built_url)
    attributes = await owner.fetchrow(
        """select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
             exists (select from pg_auth_members where member = r.oid) from pg_roles r where rolname = $1""",
        role,
    )
    await owner.close()
    assert tuple(attributes or ()) == (False,) * 6


async def test_each_role_may_do_what_its_service_does_and_no_more(built_url: str) -> None:
    everything = {"select", "insert", "update", "delete"}
    relays = {f"public.{name}": everything for name in ("relay_leases", "relays", "relay_audits")}
    reading = {"public.facts": {"select"}, "public.heads": {"select"}}
    assert await rights(built_url, RELAY_ROLE) == relays | reading

    command = await rights(built_url, COMMAND_ROLE)
    assert command.pop("public.facts") == {"select", "insert"}
    assert command.pop("public.heads") == {"select", "update"}
    assert {f"public.{name}" for name in ("halls", "hall_events", "idempotency", "snapshots")} <= set(command)
    assert all(table.startswith("public.") and "relay" not in table for table in command)

    projector = await rights(built_url, PROJECTOR_ROLE)
    read_models_of = {table for table in projector if table.startswith("read.")}
    assert {table: projector[table] for table in set(projector) - read_models_of} == reading
    assert {"read.events", "read.events_1", "read.checkpoints", "read.heartbeats"} <= read_models_of
    assert all(projector[table] == everything for table in read_models_of)

    assert await rights(built_url, QUERY_ROLE) == {table: {"select"} for table in read_models_of}


async def test_tables_that_the_release_before_makes_are_read_and_written_as_well(built_url: str) -> None:
    older = await open_pool(built_url)
    await older.execute("create table read.events_2 (like read.events_1)")
    await older.execute("create or replace view read.events as select * from read.events_2")
    await older.close()
    assert (await rights(built_url, PROJECTOR_ROLE))["read.events_2"] == {"select", "insert", "update", "delete"}
    query = await open_pool(as_role(built_url, QUERY_ROLE), role=QUERY_ROLE)
    assert await query.fetch("select * from read.events") == []
    await query.close()


async def test_a_login_that_is_the_owner_still_serves_and_is_warned_of(built_url: str) -> None:
    with capture_logs() as logs:
        pool = await open_pool(built_url, role=QUERY_ROLE)
        async with pool.acquire() as one, pool.acquire() as other:
            for session in (one, other):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await session.execute("delete from read.checkpoints")
        await pool.close()
    assert [(line["event"], line["role"]) for line in logs] == [("database_role_is_owner", QUERY_ROLE)]


async def test_a_services_login_starts_on_a_schema_that_is_current(built_url: str) -> None:
    await Server(url=as_role(built_url, QUERY_ROLE), setting="MYEVENTS_DATABASE_URL").migrate(QUERY_ROLE)


async def test_a_services_login_says_that_the_owner_must_migrate(built_url: str) -> None:
    owner = await asyncpg.connect(built_url)
    await owner.execute("update schema_revision set version_num = '0003'")
    await owner.close()
    with pytest.raises(NotMigrated, match=r"MYEVENTS_DATABASE_URL .* let its owner run `migrate`"):
        await Server(url=as_role(built_url, QUERY_ROLE), setting="MYEVENTS_DATABASE_URL").migrate(QUERY_ROLE)


async def test_a_read_database_that_the_projector_may_not_fill_waits_for_its_owner(
    empty_database_url: str, template: str
) -> None:
    assert template, "It makes the roles, which are of the whole server."
    server = Server(url=as_role(empty_database_url, PROJECTOR_ROLE), setting="MYEVENTS_READ_DATABASE_URL")
    async with connections(server, role=PROJECTOR_ROLE) as pool:
        reads = ReadDatabase(pool=pool, server=server, role=PROJECTOR_ROLE, apart=True)
        for mend in (migrate, _build):
            with pytest.raises(NotMigrated, match="MYEVENTS_READ_DATABASE_URL"):
                await reads.prepare()
            await mend(empty_database_url)
        await reads.prepare()


async def test_the_login_of_another_service_is_refused_by_name(built_url: str) -> None:
    server = Server(url=as_role(built_url, QUERY_ROLE), setting="MYEVENTS_DATABASE_URL")
    with pytest.raises(SettingsError, match="logs in as myevents_query, which may not act as myevents_command"):
        await server.migrate(COMMAND_ROLE)


async def test_a_role_logs_in_with_the_password_of_the_settings_and_with_no_other(directory: Path) -> None:
    async with private_postgres(directory / "postgres") as server:
        await migrate(server.dsn)
        passwords = {COMMAND_ROLE: "R&D's 100% $ecret", QUERY_ROLE: "other"}
        await set_passwords(server.dsn, passwords)
        access = directory / "postgres" / "access" / "pg_hba.conf"
        access.write_text("local all postgres peer map=myevents\nlocal all all scram-sha-256\n")
        await told(server, "select pg_reload_conf()")
        for role, password in passwords.items():
            connection = await asyncpg.connect(server.dsn_of(role), password=password)
            assert await connection.fetchval("select session_user") == role
            await connection.close()
        for role, password in ((COMMAND_ROLE, "other"), (QUERY_ROLE, ""), (RELAY_ROLE, "other")):
            with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
                await asyncpg.connect(server.dsn_of(role), password=password)


async def test_what_the_server_is_told_of_a_password_does_not_contain_it() -> None:
    assert "secret" not in scram_verifier("secret")
    assert scram_verifier("secret") != scram_verifier("secret")


async def test_a_password_that_the_server_would_normalise_is_refused_by_name() -> None:
    for password in ("pässword", "pass word", "p" * 201):
        with pytest.raises(SettingsError, match="MYEVENTS_QUERY_PASSWORD must be"):
            Settings.from_environment({"MYEVENTS_QUERY_PASSWORD": password})
    settings = Settings.from_environment({"MYEVENTS_QUERY_PASSWORD": "s3cret!", "MYEVENTS_RELAY_PASSWORD": ""})
    assert settings.role_passwords == {QUERY_ROLE: "s3cret!"}
    assert "s3cret" not in repr(settings)


async def test_an_owner_that_is_no_superuser_migrates_serves_and_sets_passwords(directory: Path) -> None:
    async with private_postgres(directory / "postgres") as server:
        for statement in ("create role site login createrole", "create database site owner site"):
            await told(server, statement)
        owner = in_database(server.dsn_of("site"), "site")
        await migrate(owner)
        await set_passwords(owner, dict.fromkeys(SERVICE_ROLES, "secret"))
        await _build(owner)
        assert (await rights(owner, PROJECTOR_ROLE))["read.events_1"] == {"select", "insert", "update", "delete"}
        assert (await rights(owner, COMMAND_ROLE))["public.facts"] == {"select", "insert"}
        for role in SERVICE_ROLES:
            for login in (owner, as_role(owner, role)):
                await Server(url=login, setting="MYEVENTS_DATABASE_URL").migrate(role)
                pool = await open_pool(login, role=role)
                assert await pool.fetchval("select current_user") == role
                await pool.close()
