"""Servers of a test's own, started by `scripts/servers.sh`; each may be killed, stopped for a while, started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final, Literal

Server = Literal["kafka", "elasticsearch", "redis", "postgres"]
SCRIPT: Final = Path(__file__).parents[2] / "scripts" / "servers.sh"
_SECONDS: Final = 180
_DYING: Final = 20
_URLS: Final[dict[Server, str]] = {
    "kafka": "kafka://127.0.0.1:{}",
    "elasticsearch": "http://127.0.0.1:{}",
    "redis": "redis://127.0.0.1:{}",
    "postgres": "postgresql://postgres@127.0.0.1:{}/postgres",
}
_PIDS: Final[dict[Server, str]] = {"postgres": "postgres/data/postmaster.pid"}


class Servers:
    """Some of the servers, with state in `directory` and on ports that nobody else has."""

    def __init__(self, directory: Path, *names: Server, **settings: str) -> None:
        """`settings` are variables that the script knows."""
        directory.mkdir(parents=True, exist_ok=True)
        # Where the tests run as root, some servers do not, and must be able to enter.
        directory.chmod(0o711)
        self._directory, self._settings = directory, settings
        self.names = names
        self._ports = {name: _free_ports() for name in names}

    def url(self, name: Server) -> str:
        """Where it answers."""
        return _URLS[name].format(self._ports[name])

    def port(self, name: Server) -> int:
        """Where it listens."""
        return self._ports[name]

    def start(self, *names: Server) -> None:
        """Start those, or all, and wait until they listen."""
        self._run("up", *(names or self.names))

    def kill(self, name: Server) -> None:
        """`kill -9`, its children too, as when its machine is lost; returns once they are gone, and so is its port."""
        self._send(name, signal.SIGKILL)
        _await_silence(self._ports[name])

    def pause(self, name: Server) -> None:
        """Stop it where it is: its connections stay, and nothing answers."""
        self._send(name, signal.SIGSTOP)

    def resume(self, name: Server) -> None:
        """Let it go on."""
        self._send(name, signal.SIGCONT)

    def forget(self, name: Server) -> None:
        """Delete all that a server which does not run has kept."""
        shutil.rmtree(self._directory / name / "data")

    def stop(self) -> None:
        """Stop all of them; they keep what they had."""
        for name in self.names:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.resume(name)
        self._run("down", *self.names)

    def _run(self, act: str, *names: Server) -> None:
        ports = {f"{name.upper()}_PORT": str(port) for name, port in self._ports.items()}
        subprocess.run(
            [SCRIPT, act, *names],
            env={**os.environ, **ports, **self._settings, "SERVERS_DIR": str(self._directory)},
            check=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _send(self, name: Server, what: signal.Signals) -> None:
        pid = int((self._directory / _PIDS.get(name, f"{name}/pid")).read_text().split()[0])
        for each in (pid, *_children(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, what)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _await_silence(port: int) -> None:
    """Wait until nobody listens any more on the port of what was killed: threads go one after another, any keeps it."""
    end = time.monotonic() + _DYING
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            assert time.monotonic() < end, f"who listens on {port} does not die"
            time.sleep(0.02)
            continue
        return


def _free_ports() -> int:
    """A port that is free, as are the two beside it that Kafka's controller and Elasticsearch's transport take."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for other in (port, port + 1, port + 100):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", other))
            return port
