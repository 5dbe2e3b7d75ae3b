"""The operating system's account that the server runs as where we are root, which PostgreSQL refuses to be run by."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from typing import Final

from myevents.embedded.errors import EmbeddedError

NAME: Final = "myevents-postgres"
_CREATE: Final = (
    ("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"),
    ("adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/bin/false"),
)
"""How systems create an account without a password: those with shadow-utils, and those with BusyBox."""

_ATTEMPTS: Final = 20
_PAUSE_SECONDS: Final = 0.25
_TIMEOUT_SECONDS: Final = 30


def server_account() -> pwd.struct_passwd | None:
    """The account of the server where we are root, created where it is missing; None where the server runs as we do.

    It is used for nothing else, so that no other process can signal the server or read its files. Raises
    `EmbeddedError` where it cannot be created.
    """
    if os.geteuid() != 0:
        return None
    said = ""
    for _ in range(_ATTEMPTS):
        try:
            return pwd.getpwnam(NAME)
        except KeyError:
            # Another process may be creating it now and hold the lock of the account file.
            said = _create()
            time.sleep(_PAUSE_SECONDS)
    raise EmbeddedError(
        f"As root, the embedded PostgreSQL runs as the account {NAME}, which could not be created ({said}): create it,"
        " run as another user, or set MYEVENTS_DATABASE_URL."
    )


def _create() -> str:
    """Create the account; what the program said."""
    # Of cron and `su`, PATH may lack where these programs are.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    for command in _CREATE:
        program = shutil.which(command[0], path=path)
        if program is not None:
            done = subprocess.run(
                [program, *command[1:], NAME], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
            )
            return done.stderr.strip()
    return "there is neither useradd nor adduser"
