"""Directories and locks where the server's account, or others, may change what is around them.

Everything goes by descriptors that were opened without following links: what was checked is what is changed.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from myevents.embedded.errors import EmbeddedError

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

FORMER_ACCOUNT: Final = "nobody"
"""Whom the release before ran the server as where we are root."""


@contextmanager
def open_directory(path: Path, owners: Collection[int]) -> Iterator[int]:
    """The descriptor of a directory that is no link and belongs to one of `owners`; raises `EmbeddedError` else."""
    try:
        descriptor = os.open(path, _DIRECTORY)
    except OSError as error:
        raise EmbeddedError(f"{path} is a link or no directory ({error.strerror}): remove it.") from error
    try:
        if os.fstat(descriptor).st_uid not in owners:
            raise EmbeddedError(f"{path} belongs to another user: remove it.")
        yield descriptor
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, owner: pwd.struct_passwd | None, mode: int, owners: Collection[int]) -> None:
    """Create a directory where it is missing, and give it to `owner` (ourselves where None) with that mode.

    Raises `EmbeddedError` where it is a link or belongs to none of `owners`.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_directory(path, owners) as descriptor:
        if os.geteuid() == 0:
            os.fchown(descriptor, owner.pw_uid if owner else 0, owner.pw_gid if owner else 0)
        os.fchmod(descriptor, mode)


def open_lock(directory: Path, name: str) -> int:
    """The descriptor of a lock file in a directory of ours, created where it is missing; raises `EmbeddedError`."""
    try:
        descriptor = os.open(directory / name, _LOCK, 0o600)
    except OSError as error:
        raise EmbeddedError(f"{directory / name} cannot be opened ({error.strerror}): remove it.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise EmbeddedError(f"{directory / name} is no file: remove it.")
    return descriptor


def take_over(directory: Path, account: pwd.struct_passwd) -> None:
    """Give the server's account what the former account has in and below `directory`, and nothing else.

    What the release before made belongs to that account, other processes of which may change it meanwhile.
    """
    try:
        former = pwd.getpwnam(FORMER_ACCOUNT).pw_uid
    except KeyError:
        return
    with open_directory(directory, {0, former, account.pw_uid}) as top:
        if os.fstat(top).st_uid == account.pw_uid:
            return
        for _, directories, files, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            for name in (*directories, *files):
                if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid == former:
                    os.chown(name, account.pw_uid, account.pw_gid, dir_fd=descriptor, follow_symlinks=False)
        # The top last: a take-over that was interrupted begins again.
        os.fchown(top, account.pw_uid, account.pw_gid)
