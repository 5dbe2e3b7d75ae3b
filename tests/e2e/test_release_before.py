"""The release before and this one run side by side on one database, forth and back, while people book."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import asyncpg
import pytest

from tests.e2e.served import PROGRAM, Served, environment, until
from tests.e2e.test_surviving import Buyers, bookings_in
from tests.integration.test_database_roles import as_role
from tests.released_code import released_code

Release = Literal["old", "new"]
SERVICES = ("command", "projector", "query")
_PROGRAM_TIMEOUT_SECONDS = 120


class Releases:
    """Processes of both releases on one database."""

    def __init__(self, store: str, directory: Path, exits: ExitStack) -> None:
        self.store = store
        self._directory = directory
        self._exits = exits
        self._settings: dict[Release, dict[str, str]] = {"old": released_code(directory / "released"), "new": {}}

    async def start(self, release: Release) -> dict[str, Served]:
        """Start one process of each service of that release, by the service's name."""
        services = {}
        for name in SERVICES:
            log = self._directory / f"{release}-{name}.log"
            services[name] = Served(self.url_for(release, name), log, name, self._settings[release])
        for service in services.values():
            self._exits.callback(service.stop)
            await service.start()
        return services

    def url_for(self, release: Release, service: str) -> str:
        """The URL by which a service of that release logs in: the release before knows the owner's alone."""
        return as_role(self.store, f"myevents_{service}") if release == "new" else self.store

    def run(self, release: Release, *arguments: str) -> str:
        """Run `myevents` of that release to its end, which must be a good one; return what it printed."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            env=environment(self.store, self._directory) | self._settings[release],
            capture_output=True,
            text=True,
            timeout=_PROGRAM_TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{release} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def releases(empty_database_url: str, directory: Path) -> Iterator[Releases]:
    """No process yet."""
    with ExitStack() as exits:
        yield Releases(empty_database_url, directory, exits)


async def test_an_upgrade_and_the_way_back_stop_no_service_and_lose_no_booking(releases: Releases) -> None:
    old = await releases.start("old")
    buyers = Buyers(old["command"])
    event = await buyers.event()
    buying = [asyncio.create_task(buyers.buy(f"old{number}", event)) for number in range(3)]
    await _booked(buyers)

    releases.run("new", "migrate")
    new = await releases.start("new")
    others = Buyers(new["command"])
    buying += [asyncio.create_task(others.buy(f"new{number}", event)) for number in range(3)]
    await _booked(buyers, others)
    # Machines of the old release are lost and come back in the middle of the upgrade.
    for service in old.values():
        service.kill()
        await _booked(others)
        await service.start()
    await _booked(buyers, others)
    for service in old.values():
        service.kill()
    await _booked(others)

    # Back: the old ones start again beside the new ones, which then go.
    for service in old.values():
        await service.start()
    await _booked(buyers, others)
    others.stopping = True
    await asyncio.gather(*buying[3:])
    for service in new.values():
        service.stop()
    for service in old.values():
        service.kill()
        await service.start()
    await _booked(buyers)
    buyers.stopping = True
    await asyncio.gather(*buying)

    promised = [*buyers.acknowledged.values(), *others.acknowledged.values()]
    recorded = await bookings_in(releases.store, event)
    assert sorted(recorded) == sorted(promised)
    for release in ("old", "new"):
        assert "The log has no gap" in releases.run(release, "verify")


async def _booked(*buyers: Buyers, more: int = 20) -> None:
    """Wait until so many more bookings were acknowledged to each of them."""
    for each in buyers:
        enough = len(each.acknowledged) + more

        async def reached(each: Buyers = each, enough: int = enough) -> bool:
            return len(each.acknowledged) >= enough

        await until(reached)


async def test_services_start_on_a_database_that_a_later_release_has_migrated(releases: Releases) -> None:
    releases.run("new", "migrate")
    connection = await asyncpg.connect(releases.store)
    await connection.execute("update schema_revision set version_num = '9999'")
    await connection.close()
    new = await releases.start("new")
    buyers = Buyers(new["command"])
    event = await buyers.event()
    buying = asyncio.create_task(buyers.buy("ann", event))
    await _booked(buyers)
    buyers.stopping = True
    await buying
    assert "database_is_newer" in new["command"].said()
    assert "The log has no gap" in releases.run("new", "verify")
