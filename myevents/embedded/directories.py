"""Directories and locks where the server's account, or others, may change what is around them.

Everything goes by descriptors that were opened without following links: what was checked is what is changed.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from myevents.embedded.errors import EmbeddedError

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

_UNFINISHED: Final = 0o700
"""The mode of a directory of root's until it is clean; others may pass through it afterwards."""

_LOCK_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.02

FORMER_ACCOUNT: Final = "nobody"
"""Whom the release before ran the server as where we are root."""


@contextmanager
def open_directory(path: Path, allowed: Collection[int]) -> Iterator[int]:
    """The descriptor of a directory that is no link and belongs to one of `allowed`; raises `EmbeddedError` else."""
    try:
        descriptor = os.open(path, _DIRECTORY)
    except OSError as error:
        raise EmbeddedError(f"{path} is a link or no directory ({error.strerror}): remove it.") from error
    try:
        if os.fstat(descriptor).st_uid not in allowed:
            raise EmbeddedError(f"{path} belongs to another user: run as that user, or move it away.")
        yield descriptor
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, owner: pwd.struct_passwd | None, mode: int, allowed: Collection[int]) -> None:
    """Create a directory where it is missing, and give it to `owner` (ourselves where None) with that mode.

    Raises `EmbeddedError` where it is a link or belongs to none of `allowed`.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_directory(path, allowed) as descriptor:
        if os.geteuid() == 0:
            os.fchown(descriptor, owner.pw_uid if owner else 0, owner.pw_gid if owner else 0)
        os.fchmod(descriptor, mode)


@contextmanager
def claim_home(path: Path, account: pwd.struct_passwd | None) -> Iterator[bool]:
    """Create our directory where it is missing, and hold it locked, so that one process at a time prepares it.

    Yields whether what is in it may be another user's: the former account owned it, or its cleaning was interrupted.
    Nobody else can change its entries from then on. Raises `EmbeddedError` where it is not ours to take.
    """
    path.mkdir(mode=_UNFINISHED, parents=True, exist_ok=True)
    with open_directory(path, _claimable(account)) as descriptor:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"Another process keeps {path} locked: end it, and try again.") from None
                time.sleep(_POLL_SECONDS)
        status = os.fstat(descriptor)
        suspect = os.geteuid() == 0 and (status.st_uid != 0 or stat.S_IMODE(status.st_mode) == _UNFINISHED)
        yield suspect


def clean_directory(path: Path, account: pwd.struct_passwd | None, keep: Collection[str] = ()) -> None:
    """Make a directory root's alone, and remove all that is in it but `keep`: another user may have put it there."""
    with open_directory(path, _claimable(account)) as descriptor:
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, _UNFINISHED)
        for name in os.listdir(descriptor):
            if name in keep:
                continue
            if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)


def owners(account: pwd.struct_passwd | None) -> set[int]:
    """Whose directories are ours: our own, and those of the server's account where it has one."""
    return {os.geteuid()} if account is None else {os.geteuid(), account.pw_uid}


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
    with open_directory(directory, _claimable(account)) as top:
        if os.fstat(top).st_uid == account.pw_uid:
            return
        former = _former_uids()
        for _, directories, files, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            for name in (*directories, *files):
                # What has gone meanwhile needs no owner.
                with suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid in former:
                        os.chown(name, account.pw_uid, account.pw_gid, dir_fd=descriptor, follow_symlinks=False)
        # The top last: a take-over that was interrupted begins again.
        os.fchown(top, account.pw_uid, account.pw_gid)


def _claimable(account: pwd.struct_passwd | None) -> set[int]:
    """Whose directories may become ours: our own; as root those of the server's account, and of the former one."""
    return owners(account) if account is None else {*owners(account), *_former_uids()}


def _former_uids() -> tuple[int, ...]:
    """The uid of the account of the release before, where there is one."""
    try:
        return (pwd.getpwnam(FORMER_ACCOUNT).pw_uid,)
    except KeyError:
        return ()
