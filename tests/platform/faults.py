"""What happens when a part is lost: killed, or stopped for a while as by a machine that hangs."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Literal

from msgspec import Struct

from tests.platform.load import Load
from tests.platform.platform import Platform
from tests.platform.servers import Server, Servers

How = Literal["killed", "stopped"]
BACK: Final = 30.0
"""Seconds within which everything must go on once what was lost is there again."""

_SERVERS: Final[dict[str, Server]] = {
    "Kafka": "kafka",
    "Elasticsearch": "elasticsearch",
    "Redis": "redis",
    "PostgreSQL": "postgres",
    "read database": "postgres",
}


class Suffered(Struct, frozen=True, kw_only=True):
    """A loss: the longest time without success of each kind of caller (seconds), and how soon all were well again."""

    parts: tuple[str, ...]
    how: How
    gaps: dict[str, float]
    back: float


async def lose(platform: Platform, load: Load, parts: tuple[str, ...], how: How, seconds: float) -> Suffered:
    """Lose those parts for `seconds`, bring them back, and wait until everything goes on.

    Raises `AssertionError` where it does not within `BACK` seconds.
    """
    begun = time.monotonic()
    for part in parts:
        _lose(platform, part, how)
    await asyncio.sleep(seconds)
    for part in parts:
        await _return(platform, part, how)
    returned = time.monotonic()
    waiting = set(load.watches)
    while waiting:
        waiting = {name for name in waiting if not load.watches[name].after(returned)}
        assert time.monotonic() < returned + BACK, f"after {' and '.join(parts)} {how}: no {', '.join(sorted(waiting))}"
        await asyncio.sleep(0.05)
    now = time.monotonic()
    gaps = {name: watch.gap(begun, now) for name, watch in load.watches.items()}
    return Suffered(parts=parts, how=how, gaps=gaps, back=now - returned)


def _servers(platform: Platform, part: str) -> Servers:
    return platform.read_servers if part == "read database" else platform.servers


def _lose(platform: Platform, part: str, how: How) -> None:
    if part in _SERVERS:
        servers = _servers(platform, part)
        (servers.kill if how == "killed" else servers.pause)(_SERVERS[part])
    else:
        service = platform.services[part]
        (service.kill if how == "killed" else service.pause)()


async def _return(platform: Platform, part: str, how: How) -> None:
    if part in _SERVERS:
        servers = _servers(platform, part)
        if how == "killed":
            await asyncio.to_thread(servers.start, _SERVERS[part])
        else:
            servers.resume(_SERVERS[part])
    elif how == "killed":
        await platform.services[part].start()
    else:
        platform.services[part].resume()
