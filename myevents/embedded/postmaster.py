"""The server's main process: found by its pid file, distinguished from other processes, and signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Final

_PID_FILE: Final = "postmaster.pid"
_STATUS_LINE: Final = 7
_TIMEOUT_SECONDS: Final = 10


def recorded_pid(data: Path) -> int | None:
    """The pid in the directory's pid file, whichever process has that number by now; None where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((data / _PID_FILE).read_text().splitlines()[0])
    return None


def running_pid(data: Path) -> int | None:
    """The pid of the server that runs on this directory; None where the recorded pid is another process's."""
    pid = recorded_pid(data)
    return pid if pid is not None and _serves(pid, data) else None


def is_ready(data: Path) -> bool:
    """Whether a server runs on this directory and takes connections, by what it says in its pid file."""
    if running_pid(data) is None:
        return False
    with contextlib.suppress(OSError, IndexError):
        return (data / _PID_FILE).read_text().splitlines()[_STATUS_LINE].strip() == "ready"
    return False


def signal_server(data: Path, number: signal.Signals) -> bool:
    """Signal the server of this directory, and nothing else; whether there was one."""
    pid = recorded_pid(data)
    if pid is None:
        return False
    try:
        # A descriptor names this very process, also when it ends and its number is given to another one.
        process = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return False
    try:
        if not _serves(pid, data):
            return False
        with contextlib.suppress(ProcessLookupError):
            if process is not None:
                signal.pidfd_send_signal(process, number)
            else:
                os.kill(pid, number)
        return True
    finally:
        if process is not None:
            os.close(process)


def _serves(pid: int, data: Path) -> bool:
    """Whether that process is a PostgreSQL server on `data`: by its command, or by where it works."""
    process = Path(f"/proc/{pid}")
    if not Path("/proc/self").exists():
        command = ["ps", "-ww", "-p", str(pid), "-o", "command="]
        listed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS).stdout
        return "postgres" in listed and str(data) in listed
    try:
        program, *arguments = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if os.path.basename(program) != b"postgres":
        return False
    if os.fsencode(data) in arguments:
        return True
    with contextlib.suppress(OSError):
        # A server whose directory was renamed since; without privileges that cannot be seen.
        return os.path.samestat((process / "cwd").stat(), data.stat())
    return False
