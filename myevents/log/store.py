"""The log as the store has it: reads the facts table in order, woken by NOTIFY, with a poll behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

import asyncpg
import msgspec

from myevents.errors import MyEventsError
from schema.envelope import Envelope, opened
from schema.facts import RecordedFact, UnreadableFact
from schema.tables import FACTS_CHANNEL

_COLUMNS: Final = "partition, seq, stream_id, version, type, schema_version, data, metadata, recorded_at"
_DEADLINE: Final = 10.0

PASSING: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What the driver makes of a connection that breaks in the middle of an answer.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
)
"""What a database that is away, or just comes back, answers with: it passes by itself."""


class GapInLog(MyEventsError):
    """A seq is missing where the log promises none is; `myevents verify` tells more."""


class StoreLog:
    """Tails the facts table. Seq is given under the head's lock, so what can be seen has no gap behind it."""

    def __init__(self, pool: asyncpg.Pool, partitions: int) -> None:
        self._pool = pool
        self._partitions = partitions
        self._woken = asyncio.Event()
        self._listener: asyncpg.pool.PoolConnectionProxy | None = None

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return self._partitions

    async def read(self, partition: int, after: int, limit: int = 1000) -> list[RecordedFact | UnreadableFact]:
        """The facts of `partition` after seq `after`, at most `limit`; raises `GapInLog`."""
        return [opened(envelope) for envelope in await self.read_envelopes(partition, after, limit)]

    async def read_envelopes(self, partition: int, after: int, limit: int = 1000) -> list[Envelope]:
        """The same, as it travels; raises `GapInLog`."""
        rows = await self._pool.fetch(
            f"select {_COLUMNS} from facts where partition = $1 and seq > $2 order by seq limit $3",
            partition,
            after,
            limit,
            timeout=_DEADLINE,
        )
        for expected, row in enumerate(rows, start=after + 1):
            if row["seq"] != expected:
                raise GapInLog(f"partition {partition} has no fact {expected}, but has {row['seq']}")
        return [_envelope(row) for row in rows]

    async def read_stream(
        self, stream_id: str, after_version: int = 0, limit: int = 1000
    ) -> list[RecordedFact | UnreadableFact]:
        """The facts of one stream above a version, in order."""
        rows = await self._pool.fetch(
            f"select {_COLUMNS} from facts where stream_id = $1 and version > $2 order by version limit $3",
            stream_id,
            after_version,
            limit,
            timeout=_DEADLINE,
        )
        return [opened(_envelope(row)) for row in rows]

    async def heads(self) -> dict[int, int]:
        """The seq of each partition's last fact."""
        rows = await self._pool.fetch("select partition, seq from heads", timeout=_DEADLINE)
        return {row[0]: row[1] for row in rows}

    async def seen(self) -> dict[int, int]:
        """The heads: who asks the store knows no others."""
        return await self.heads()

    async def ahead(self, _checkpoints: Mapping[int, int]) -> dict[int, int]:
        """How far a follower can go on: all partitions are his."""
        return await self.heads()

    async def changed(self, timeout: float) -> None:
        """Return once something may have been added since the last call, or after `timeout` seconds."""
        await self._listen()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        self._woken.clear()

    async def close(self) -> None:
        """Stop listening."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # A connection that is lost, or was given up with its pool, listens no longer anyway.
            with contextlib.suppress(*PASSING):
                if not listener.is_closed():
                    await listener.remove_listener(FACTS_CHANNEL, self._wake)
                    await self._pool.release(listener)

    async def _listen(self) -> None:
        # A connection that broke went back to its pool, which then raises where it is asked how it is.
        with contextlib.suppress(asyncpg.InterfaceError):
            if self._listener is not None and not self._listener.is_closed():
                return
        # Without a listener the poll goes on, so a database that is away for a moment is no error here.
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            listener = await self._pool.acquire(timeout=5)
            self._listener = listener
            await listener.add_listener(FACTS_CHANNEL, self._wake)

    def _wake(self, *_: object) -> None:
        self._woken.set()


def _envelope(row: asyncpg.Record) -> Envelope:
    return Envelope(
        partition=row["partition"],
        seq=row["seq"],
        stream=row["stream_id"],
        version=row["version"],
        type=row["type"],
        schema_version=row["schema_version"],
        recorded_at=row["recorded_at"],
        data=msgspec.Raw(row["data"].encode()),
        metadata=msgspec.Raw(row["metadata"].encode()),
    )
