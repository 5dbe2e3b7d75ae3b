"""The services do all their work on logins of their own; the owner's is for those who look after the database."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from myevents.embedded import EmbeddedPostgres
from myevents.log.kafka_address import kafka_address
from schema.tables import COMMAND_ROLE, PROJECTOR_ROLE, QUERY_ROLE, RELAY_ROLE
from tests.e2e.served import PROGRAM, Served, environment, served
from tests.e2e.test_rolling_upgrade import book, posted, seats
from tests.e2e.test_serving import EVENT
from tests.integration.test_database_roles import as_role
from tests.topics import given_kafka, url_of

ROLES = {"command": COMMAND_ROLE, "projector": PROJECTOR_ROLE, "query": QUERY_ROLE, "relay": RELAY_ROLE}
_PROGRAM_TIMEOUT_SECONDS = 120


def _kafka() -> dict[str, str]:
    """The setting that names a topic of the test's own, where there is a Kafka."""
    there = kafka_address(os.environ.get("MYEVENTS_TEST_LOG_URL", "store:")) is not None
    return {"MYEVENTS_LOG_URL": url_of(given_kafka())} if there else {}


async def _logins(url: str) -> set[str]:
    """Who is logged in to the database from our processes."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "select usename from pg_stat_activity where application_name = 'myevents' and datname = current_database()"
    )
    await connection.close()
    return {row[0] for row in rows}


async def _run(url: str, directory: Path, settings: dict[str, str], *arguments: str) -> str:
    """Run `myevents` on the database to its end, which must be a good one; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *arguments,
        env=environment(url, directory) | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), _PROGRAM_TIMEOUT_SECONDS)
    assert process.returncode == 0, f"{arguments}: {output.decode()}"
    return output.decode()


async def test_one_process_on_the_embedded_server_has_no_session_of_its_superuser(directory: Path) -> None:
    kafka = _kafka()
    with served(f"embedded:{directory / 'postgres'}", directory, settings=kafka) as service:
        await service.start()
        event, _ = await posted(service, "/api/events", EVENT)
        assert await seats(service, event, await book(service, event)) == (1, 1, False)
        logins = await _logins(EmbeddedPostgres(directory / "postgres").dsn)
        assert logins == set(ROLES.values()) - (set() if kafka else {RELAY_ROLE})
        assert "database_role_is_owner" not in service.said()


async def test_services_with_logins_of_their_own_book_and_show_it_before_and_after_a_rebuild(
    empty_database_url: str, directory: Path
) -> None:
    url, kafka = empty_database_url, _kafka()
    await _run(url, directory, kafka, "migrate")
    with ExitStack() as exits:
        services = {}
        for name in ROLES if kafka else set(ROLES) - {"relay"}:
            services[name] = Served(as_role(url, ROLES[name]), directory / f"{name}.log", name, kafka)
            exits.callback(services[name].stop)
            await services[name].start()
        event, _ = await posted(services["command"], "/api/events", EVENT)
        assert await seats(services["query"], event, await book(services["command"], event)) == (1, 1, False)
        assert await _logins(url) == {ROLES[name] for name in services}
        for model in ("events", "bookings", "locations"):
            await _run(url, directory, kafka, "rebuild", model)
        assert await seats(services["query"], event, await book(services["command"], event)) == (2, 2, False)
        await _run(url, directory, kafka, "rebuild", "events", "--back")
        await _run(url, directory, kafka, "rebuild", "events", "--drop-old")
        assert await seats(services["query"], event, await book(services["command"], event)) == (3, 3, False)
        assert "The log has no gap" in await _run(url, directory, kafka, "verify")
        for service in services.values():
            assert "InsufficientPrivilege" not in service.said()
            assert "database_role_is_owner" not in service.said()


@pytest.mark.usefixtures("template")  # It makes the roles, which are of the whole server.
@pytest.mark.parametrize("service", ["command", "query", "projector"])
async def test_a_service_that_may_not_migrate_says_who_must(
    empty_database_url: str, directory: Path, service: str
) -> None:
    login = as_role(empty_database_url, ROLES[service])
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        service,
        env=environment(login, directory) | {"MYEVENTS_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), _PROGRAM_TIMEOUT_SECONDS)
    assert process.returncode == 2, output.decode()
    assert "let its owner run `migrate`" in " ".join(output.decode().split())
