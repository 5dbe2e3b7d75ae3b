"""How new the read models are, known without asking for them each time.

What is known is trusted while nothing newer may have been seen: a second at most, and only until a notice of the
projector comes, or until an answer was made from the models themselves. Then whoever needs to know makes one look do
for all who wait. So notices make it quick, and a lost one costs a second and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import asyncpg
import structlog
from msgspec import Struct

from myevents.errors import MyEventsError
from schema.read_tables import CHECKPOINTS_CHANNEL

AGE: Final = 1.0
"""Seconds for which a look is trusted where no notice comes."""

DEADLINE: Final = 0.5
"""Seconds a look may take; without one, answers are made from the read models."""

_LOOK: Final = """
  select b.model, b.build, array_agg(c.partition order by c.partition), array_agg(c.seq order by c.partition),
    (extract(epoch from max(c.applied_at)) * 1000000)::bigint,
    (select count(*) from read.parked_streams s where s.model = b.model and s.build = b.build)
  from read.builds b join read.checkpoints c using (model, build) where b.state = 'live' group by b.model, b.build"""
"""Besides the checkpoints: parked streams come back without moving any, and a swapped index may tell the same again."""

_AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_log = structlog.get_logger()


class Version(Struct, frozen=True, kw_only=True):
    """What a model has applied; two different states of it have different tokens. `since` when it is known (loop)."""

    token: bytes
    seqs: Mapping[int, int]
    since: float

    def reached(self, partition: int, seq: int) -> bool:
        """Whether the model has come to a position."""
        return self.seqs.get(partition, 0) >= seq


class Versions:
    """The versions of the live builds, as one server has them: what is read there is at least as new.

    `fetch` asks that server.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[Sequence[asyncpg.Record]]]) -> None:
        self._fetch = fetch
        self.known: Mapping[str, Version] = {}
        self._known_at = float("-inf")
        self._newer: set[str] = set()
        self._begun = self._ended = self._confirmed = 0
        self._looking: asyncio.Task[None] | None = None

    def seen(self, models: Iterable[str]) -> None:
        """Something of these models was shown, or is to be seen, that may be newer than what is known."""
        self._newer.update(models)

    async def current(self, models: Collection[str]) -> Mapping[str, Version] | None:
        """Versions at least as new as anything of `models` that was shown before the call; None where nobody tells."""
        if self._trusted(models):
            return self.known
        # A look that has begun may have missed what was shown since; the next one has not.
        wanted = self._begun + 1
        while self._ended < wanted:
            if self._looking is None:
                self._begun += 1
                self._looking = asyncio.create_task(self._look(self._begun))
            await asyncio.shield(self._looking)
        known = self.known if self._confirmed >= wanted else {}
        return known if all(model in known for model in models) else None

    async def close(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    def _trusted(self, models: Collection[str]) -> bool:
        fresh = asyncio.get_running_loop().time() - self._known_at < AGE
        return fresh and self._newer.isdisjoint(models) and all(model in self.known for model in models)

    async def _look(self, number: int) -> None:
        newer, self._newer = self._newer, set()
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(DEADLINE):
                rows = await self._fetch(_LOOK)
        except (MyEventsError, asyncpg.InternalClientError, *_AWAY):
            self._newer |= newer
        except BaseException:
            self._newer |= newer
            raise
        else:
            self.known = {row[0]: self._version(begun, *row) for row in rows}
            self._known_at, self._confirmed = begun, number
        finally:
            self._ended, self._looking = number, None

    def _version(
        self, now: float, model: str, build: int, partitions: list[int], seqs: list[int], applied_at: int, parked: int
    ) -> Version:
        token = hashlib.blake2b(repr((model, build, seqs, applied_at, parked)).encode(), digest_size=16).digest()
        known = self.known.get(model)
        if known is not None and known.token == token:
            return known
        return Version(token=token, seqs=dict(zip(partitions, seqs, strict=True)), since=now)


async def take_notices(pool: asyncpg.Pool, *servers: Versions) -> None:
    """Tell of the projector's notices until cancelled; where there are none to be had, what is known grows old."""

    def noticed(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        for versions in servers:
            versions.seen([str(payload).partition(":")[0]])

    while True:
        try:
            await _listened(pool, noticed)
        except _AWAY as error:
            _log.info("no_notices", reason=type(error).__name__)
        for versions in servers:
            versions.seen(versions.known)
        await asyncio.sleep(random.uniform(0.5, 2.0))


async def _listened(pool: asyncpg.Pool, noticed: Callable[[object, int, str, object], None]) -> None:
    """Listen until the connection is lost."""
    async with pool.acquire(timeout=5) as connection:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda *_: lost.set())
        await connection.add_listener(CHECKPOINTS_CHANNEL, noticed)
        try:
            await lost.wait()
        finally:
            with contextlib.suppress(asyncpg.InterfaceError):
                await connection.remove_listener(CHECKPOINTS_CHANNEL, noticed)
