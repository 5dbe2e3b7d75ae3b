"""Who may connect to the embedded server: whom the operating system says to be us. No passwords, no other users."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Final

from myevents.embedded.errors import EmbeddedError

HBA: Final = """# Written at each start.
# type database user method
local all all peer map=myevents
local replication all peer map=myevents
"""

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def ident(account: pwd.struct_passwd | None) -> str:
    """The map of the operating system's users to roles: we log in as any, the server's own account as its owner."""
    lines = ["# Written at each start.", "# map user role", f"myevents {_quote(_own_name())} all"]
    if account is not None:
        lines.append(f"myevents {_quote(account.pw_name)} postgres")
    return "\n".join((*lines, ""))


def write_access_files(directory: Path, account: pwd.struct_passwd | None) -> dict[str, str]:
    """Write both files into a directory that only we may change; the server's settings that name them."""
    settings = {}
    for setting, name, text in (("hba_file", "pg_hba.conf", HBA), ("ident_file", "pg_ident.conf", ident(account))):
        fresh = directory / f".{name}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, _CREATE, 0o644), "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        fresh.replace(directory / name)
        settings[setting] = str(directory / name)
    return settings


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedError(
            f"The system knows no user with the number {os.geteuid()}, which the embedded PostgreSQL needs: add one, or"
            " set MYEVENTS_DATABASE_URL."
        ) from None


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
