"""Starts the server for the first process that uses it, shares it, and stops it after the last.

Each process that uses it holds `users.lock` shared; `starting.lock` is held exclusively around every start and stop.
Locks end with the process that held them, so nothing that a `kill -9` leaves behind blocks the next start.

As root everything but the data, the sockets and the logs belongs to root, and the server runs as an account of its own:
nothing that another user can write is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog

from myevents.embedded import postmaster
from myevents.embedded.access import write_access_files
from myevents.embedded.account import server_account
from myevents.embedded.directories import claim_home, clean_directory, ensure_directory, open_lock, owners, take_over
from myevents.embedded.errors import EmbeddedError
from myevents.embedded.programs import Programs, may_enter, wait_for_end

SOCKET_LIMIT: Final = 107
"""Bytes of a socket's path that the kernel takes."""

OWNER: Final = "postgres"
"""The role that owns everything in it: for migrations. Services log in as roles of their own."""

_CHECK_SECONDS: Final = 0.5
_START_ATTEMPTS: Final = 20
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 3.0
"""How long a server is waited for that stops; one that takes longer goes on stopping by itself."""

_LOCK_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.02
_MESSAGE_BYTES: Final = 500

_SOCKET: Final = ".s.PGSQL.5432"
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "log_min_messages": "fatal",
    # A file a weekday, begun again each week.
    "logging_collector": "on",
    "log_filename": "server-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "jit": "off",
}
_ROOTS_HOME: Final = Path("/var/lib/myevents")
"""Where the data is where we are root and the server's account may not enter the directory asked for."""

_log = structlog.get_logger()


class EmbeddedPostgres:
    """A server under `directory`, shared by all processes that start it there; the last to stop it ends it."""

    def __init__(self, directory: Path) -> None:
        self._home = directory.resolve()
        self._account = server_account()
        if self._account is not None and not may_enter(self._home.parent):
            self._home = _ROOTS_HOME / _digest(self._home)
        self._data = self._home / "data"
        self._programs = Programs(self._home, self._account)
        self._users: int | None = None

    @property
    def dsn(self) -> str:
        """How its owner connects: `postgresql://` through the socket."""
        return self.dsn_of(OWNER)

    def dsn_of(self, role: str) -> str:
        """How to connect as `role`: `postgresql://` through the socket."""
        return f"postgresql://{quote(role, safe='')}@/postgres?host={quote(str(self._sockets()))}"

    async def start(self) -> None:
        """Use the server, starting it where nobody has; raises `EmbeddedError` where it does not come up."""
        await asyncio.to_thread(self._prepare)
        async with self._alone():
            await asyncio.to_thread(self._programs.copy_if_needed)
        self._users = open_lock(self._home, "users.lock")
        await _lock(self._users, fcntl.LOCK_SH)
        await self.ensure_running()

    async def ensure_running(self) -> None:
        """Start the server where it does not run."""
        if postmaster.is_ready(self._data):
            return
        async with self._alone():
            if not postmaster.is_ready(self._data):
                await self._start_server()

    async def stop(self) -> None:
        """Use the server no longer; it ends where nobody else does."""
        if self._users is None:
            return
        async with self._alone():
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                await self._stop_server()
        os.close(self._users)
        self._users = None

    async def supervise(self) -> None:
        """Start a dead server again, until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self.ensure_running()
            except EmbeddedError as error:
                _log.error("embedded_postgres_down", reason=str(error))

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        lock = open_lock(self._home, "starting.lock")
        try:
            await _lock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    async def _start_server(self) -> None:
        """Start it and wait until it takes connections. Under the lock of starting alone."""
        if not (self._data / "PG_VERSION").exists():
            await self._initialise()
        await asyncio.to_thread(self._check_version)
        access = write_access_files(self._home / "access", self._account)
        settings = _SETTINGS | access | {"log_directory": str(self._home / "log"), **self._socket_setting()}
        arguments = ["-D", str(self._data), *(f"--{name}={value}" for name, value in settings.items())]
        # For a moment after a kill -9 the dead server's children hold its shared memory.
        for _ in range(_START_ATTEMPTS):
            if await self._spawn(arguments):
                return
            await asyncio.sleep(_CHECK_SECONDS)
        log = self._home / "server.log"
        said = log.read_text(errors="replace").strip()[-_MESSAGE_BYTES:]
        raise EmbeddedError(f"The embedded PostgreSQL did not start; see {log}. {said}")

    async def _spawn(self, arguments: list[str]) -> bool:
        """Start the server's process; whether it takes connections rather than has ended."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        foreign = postmaster.recorded_pid(self._data)
        if foreign is not None and postmaster.running_pid(self._data) is None:
            # After a power cut the number in the pid file may be another process's, which the server would take for
            # itself. It passes over this one number alone, and still looks whether the old shared memory is in use.
            environment["PG_GRANDPARENT_PID"] = str(foreign)
        log = os.open(
            self._home / "server.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        spawn = partial(self._programs.spawn, "postgres", *arguments, output=log, environment=environment)
        spawning = asyncio.create_task(asyncio.to_thread(spawn))
        try:
            # The thread goes on where we are cancelled, and its process with it: so it is waited for, and stopped.
            await asyncio.shield(spawning)
            return await self._wait_until_ready(spawning.result())
        except asyncio.CancelledError:
            await wait_for_end(spawning)
            if spawning.exception() is None:
                spawning.result().send_signal(signal.SIGINT)
                await wait_for_end(asyncio.create_task(asyncio.to_thread(_wait_for_exit, spawning.result())))
            raise
        finally:
            os.close(log)

    async def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the server takes connections rather than has ended."""
        # Waits for its end however long it runs, so that a dead server does not stay a zombie of ours.
        threading.Thread(target=process.wait, name="embedded postgres", daemon=True).start()
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if process.returncode is not None:
                return False
            if postmaster.is_ready(self._data):
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def _stop_server(self) -> None:
        """Let it end in order, without waiting for its clients. Under the lock of starting alone."""
        if not postmaster.signal_server(self._data, signal.SIGINT):
            return
        deadline = asyncio.get_running_loop().time() + _STOP_SECONDS
        while postmaster.running_pid(self._data) is not None:
            if asyncio.get_running_loop().time() > deadline:
                _log.warning("embedded_postgres_not_stopped", reason=f"it takes longer than {_STOP_SECONDS:.0f} s")
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _initialise(self) -> None:
        # A cluster is made beside and moved, so that one half made by a killed process is never taken for whole.
        fresh = self._home / "data.new"
        for leftover in (fresh, self._data):
            await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
        ensure_directory(fresh, self._account, 0o700, owners(self._account))
        # How its own pg_hba.conf has it, which this release does not read: the release before needs it to go back.
        options = ("-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        code, output = await self._programs.run("initdb", "-D", str(fresh), *options)
        if code != 0:
            raise EmbeddedError(f"The embedded PostgreSQL could not be initialised: {output.strip()[-_MESSAGE_BYTES:]}")
        fresh.rename(self._data)

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        version = self._programs.major_version()
        if found != version:
            raise EmbeddedError(
                f"{self._data} was made by PostgreSQL {found}, and this is {version}: dump it with the release of"
                f" MyEvents that made it, move it away, and restore the dump; or install that release again."
            )

    def _prepare(self) -> None:
        """Create the directories, and take over those that the release before made."""
        self._home.parent.mkdir(parents=True, exist_ok=True)
        with claim_home(self._home, self._account) as suspect:
            if suspect:
                self._refuse_former_server()
                clean_directory(self._home, self._account, keep=("data",))
                if os.path.lexists(self._sockets()):
                    clean_directory(self._sockets(), self._account)
            ours = owners(self._account)
            ensure_directory(self._home / "access", None, 0o711, {os.geteuid()})
            ensure_directory(self._home / "log", self._account, 0o700, ours)
            ensure_directory(self._sockets(), self._account, 0o700, ours)
            if self._account is not None and os.path.lexists(self._data):
                take_over(self._data, self._account)
            ensure_directory(self._home, None, 0o700 if self._account is None else 0o711, {os.geteuid()})
        if self._account is not None and self._home.is_relative_to(_ROOTS_HOME):
            _log.warning("embedded_postgres_elsewhere", directory=str(self._home))

    def _refuse_former_server(self) -> None:
        """Raise `EmbeddedError` while a server of the release before runs here: its files are not to be taken away."""
        if postmaster.running_pid(self._data) is not None:
            raise EmbeddedError(f"The release before runs its server in {self._home}: stop it first.")

    def _sockets(self) -> Path:
        near = self._home / "run"
        # A URL separates several hosts by commas.
        if len(os.fsencode(near / _SOCKET)) <= SOCKET_LIMIT and "," not in str(near):
            return near
        return Path(tempfile.gettempdir()) / f"myevents-{_digest(self._home)}"

    def _socket_setting(self) -> dict[str, str]:
        directory = str(self._sockets()).replace('"', '""')
        return {"unix_socket_directories": f'"{directory}"'}


def _wait_for_exit(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


async def _lock(descriptor: int, mode: int) -> None:
    """Wait for a lock without blocking the loop; raises `TimeoutError` where it is not to be had."""
    async with asyncio.timeout(_LOCK_SECONDS):
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return
