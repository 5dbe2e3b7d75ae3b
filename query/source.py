"""One server that queries read, with a deadline on everything that is asked of it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from myevents.errors import MyEventsError

DEADLINE: Final = 2.0
"""Seconds a statement may take, from asking for a connection on."""

CANCEL_SECONDS: Final = 1.0
"""Seconds in which a server has to confirm that a statement was stopped; then its connection is closed."""

_AWAY: Final = (
    # Timeouts are among these.
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
"""What a server answers that is away, or full, or only starts."""

_ELSEWHERE: Final = (
    # A replica cancels what reads rows that are gone on the primary.
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    # A database that was just made has no tables until it is brought up to date.
    asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
)
"""What tells that this statement cannot be answered here, though the server is well."""


class Unanswered(MyEventsError):
    """A server did not answer a statement; another one may."""


class Source:
    """One server; `up` is whether it answered when it was last asked."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.up = True
        self._releases: set[asyncio.Task[None]] = set()

    async def fetch(self, statement: str, *values: Any, deadline: float = DEADLINE) -> list[asyncpg.Record]:
        """The rows; raises `Unanswered`, after `deadline` seconds at the latest."""
        try:
            async with asyncio.timeout(deadline):
                connection = await self._connection(deadline)
                try:
                    rows = await connection.fetch(statement, *values)
                except (TimeoutError, asyncio.CancelledError):
                    self._release_once_stopped(connection)
                    raise
                except BaseException:
                    await self.pool.release(connection)
                    raise
                await self.pool.release(connection)
        except _AWAY as error:
            self.up = False
            raise Unanswered(type(error).__name__) from error
        except _ELSEWHERE as error:
            raise Unanswered(type(error).__name__) from error
        self.up = True
        return list(rows)

    def _release_once_stopped(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """Give a connection back once the server has confirmed that it stopped the statement; nobody waits for that.

        Terminated at once, it could not ask for that, and the server would work on. A server that hangs is given up.
        """
        task = asyncio.create_task(self.pool.release(connection, timeout=CANCEL_SECONDS))
        self._releases.add(task)
        task.add_done_callback(self._end_release)

    def _end_release(self, task: asyncio.Task[None]) -> None:
        self._releases.discard(task)
        if not task.cancelled():
            # The pool has terminated a connection that cannot be given back.
            task.exception()

    async def _connection(self, deadline: float) -> asyncpg.pool.PoolConnectionProxy:
        try:
            return await self.pool.acquire(timeout=deadline)
        except asyncpg.PostgresError as error:
            # It lets nobody in: it starts, or there is no such database or role yet.
            raise ConnectionError(type(error).__name__) from error
