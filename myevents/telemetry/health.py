"""Whether a process is alive, whether it is able, and how it leaves: what supervisors and load balancers ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_DEADLINE: Final = 2.0

Check = Callable[[], Awaitable[str | None]]
"""What is amiss, None where nothing is."""


class Health:
    """Able is who has started, is not about to leave, and whose every check finds nothing amiss."""

    def __init__(self) -> None:
        self._checks: list[Check] = []
        self._last: list[tuple[float, Callable[[], None]]] = []
        self.started = False
        self.leaving = False

    def needs(self, check: Check) -> None:
        """Be able only while `check` finds nothing amiss."""
        self._checks.append(check)

    def at_last(self, seconds: float, give_up: Callable[[], None]) -> None:
        """Call `give_up` so many seconds after the process has ceased to take requests, where it is still there."""
        self._last.append((seconds, give_up))

    def leave(self, after: float) -> None:
        """Be able no more, and go: requests are taken for `after` more seconds."""
        self.leaving = True
        for seconds, give_up in self._last:
            asyncio.get_running_loop().call_later(after + seconds, give_up)

    async def amiss(self) -> list[str]:
        """All that is, within two seconds."""
        if self.leaving:
            return ["about to stop"]
        if not self.started:
            return ["starting"]
        found = await asyncio.gather(*(_in_time(check) for check in self._checks))
        return [what for what in found if what is not None]

    def routes(self) -> list[Route]:
        """/healthz and /readyz."""

        async def alive(_: Request) -> Response:
            return Response("alive\n")

        async def ready(_: Request) -> Response:
            amiss = await self.amiss()
            return Response("".join(f"{what}\n" for what in amiss), 503) if amiss else Response("ready\n")

        return [Route("/healthz", alive), Route("/readyz", ready)]


def answers(name: str, pool: asyncpg.Pool) -> Check:
    """Whether a database answers."""

    async def check() -> str | None:
        try:
            async with asyncio.timeout(_DEADLINE):
                await pool.fetchval("select 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return f"{name} does not answer"
        return None

    return check


async def _in_time(check: Check) -> str | None:
    try:
        async with asyncio.timeout(_DEADLINE + 0.5):
            return await check()
    except TimeoutError:
        return "a check takes too long"
