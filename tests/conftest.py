"""A real PostgreSQL for the tests: the one of MYEVENTS_TEST_DATABASE_URL, or the embedded one. No mocks."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import settings

from migrations.run import migrate
from myevents.embedded import EmbeddedPostgres
from tests.random_cases import SOAK_SEED, cases, seeds

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs these in the background has all that they start ignore Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # So does `nohup` with the signal of a terminal that closes.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What else runs on the machine says how long an example takes, and CI's profile of Hypothesis has no deadline either.
settings.register_profile("usual", settings(), deadline=None)
settings.load_profile("usual")
if SOAK_SEED:
    settings.register_profile("soak", max_examples=cases(100), deadline=None, derandomize=False, print_blob=True)
    settings.load_profile("soak")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m postgres` chooses what speaks to the server of the run, `-m random_cases` what tries cases at random."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "postgres_url" in fixtures:
            item.add_marker(pytest.mark.postgres)
        given = hasattr(getattr(item, "obj", None), "hypothesis")
        if given or "chance" in fixtures or "seed" in fixtures:
            item.add_marker(pytest.mark.random_cases)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A soak repeats what draws its own chances."""
    if SOAK_SEED and "chance" in metafunc.fixturenames:
        metafunc.parametrize("chance", seeds(1), indirect=True)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chances that differ in every run; the seed is printed where the test fails."""
    seed = getattr(request, "param", None)
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    print(f"random.Random({seed})")  # noqa: T201 - pytest shows it with a failure
    return random.Random(seed)


def in_database(url: str, name: str) -> str:
    """The URL of the database `name` on the server of `url`."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that a server's own user may enter, where the tests run as root."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server for this run."""
    given = os.environ.get("MYEVENTS_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as directory:
        # Where the tests run as root, the server does not, and must be able to enter.
        Path(directory).chmod(0o711)
        server = EmbeddedPostgres(Path(directory) / "postgres")
        asyncio.run(server.start())
        try:
            yield server.dsn
        finally:
            asyncio.run(server.stop())


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    """A migrated database to copy."""
    name = f"template_{uuid4().hex}"
    asyncio.run(_execute(postgres_url, f"create database {name}"))
    asyncio.run(migrate(in_database(postgres_url, name)))
    yield name
    asyncio.run(_execute(postgres_url, f"drop database {name} with (force)"))


@pytest.fixture
async def database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """A fresh, migrated database of the test's own."""
    name = f"test_{uuid4().hex}"
    await _execute(postgres_url, f"create database {name} template {template}")
    yield in_database(postgres_url, name)
    await _execute(postgres_url, f"drop database {name} with (force)")


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of the test's own that nobody has migrated."""
    name = f"test_{uuid4().hex}"
    await _execute(postgres_url, f"create database {name}")
    yield in_database(postgres_url, name)
    await _execute(postgres_url, f"drop database {name} with (force)")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes at the end of the test what the test opened."""
    async with AsyncExitStack() as exits:
        yield exits
