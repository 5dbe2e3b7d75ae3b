"""Answers that were given before, while the read models that they were made of are still the same.

A request is known by its bytes; what it reads is learnt when it is first answered. Kept is an answer under the request
and the versions of what it read, as known before it was made: so what is found is never older than those versions, and
nobody needs to tell the cache what is no longer true. `Versions` makes sure that nobody is shown less than was shown
before in this process. One of those who ask the same at once makes the answer; the others share it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response

from myevents.cache.memory import MemoryCache
from myevents.cache.port import ENTRY_LIMIT, Cache
from myevents.web import Make
from query.position import Position, Used
from query.versions import Version, Versions

TTL: Final = 30.0
"""Seconds for which an answer is kept at most: for what no version tells."""

SETTLED: Final = 2.0
"""Seconds after which every reader of the search index shows what its checkpoint tells."""

UNSETTLED_TTL: Final = 1.0

CLAIM: Final = 1.0
"""Seconds for which one process alone makes an answer that all can have."""

PATIENCE: Final = 0.3
"""Seconds that others wait for it."""

_POLL: Final = 0.02
_MOST_USES: Final = 20_000
_SEARCH: Final = "search"


Watch = Callable[[], AbstractContextManager[None]]
"""Watches over the making of an answer, as over its client."""


def asks_afresh(request: Request) -> bool:
    """Whether the caller wants no kept answer (RFC 9111, 5.2.1.4)."""
    return "no-cache" in request.headers.get("cache-control", "").lower()


class Question(Struct, frozen=True, kw_only=True):
    """A request that reads. `asked` holds all that the answer depends on but who asks, and when.

    `versions` are those of the server that the answer would be read from.
    """

    asked: bytes
    viewer: str | None
    position: Position
    versions: Versions
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False

    def answered(self, body: bytes) -> Response:
        """The answer with that body."""
        return KeptResponse(body, _encode_headers(self.media_type, tuple(self.headers.items())))


class KeptResponse(Response):
    """A response whose headers are encoded already, but for its length: most answers need nothing else made."""

    def __init__(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *headers]


@lru_cache(maxsize=256)
def _encode_headers(media_type: str, headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """The headers as ASGI has them."""
    named = (*headers, ("Content-Type", media_type))
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in named)


class Outcome(Struct, frozen=True):
    """What became of a question; the body is there where others may have it."""

    response: Response
    body: bytes | None


class _Flight(Struct):
    """An answer on its way, and how many wait for it; it is given up where nobody is left."""

    task: asyncio.Task[Outcome]
    waiting: int = 0

    async def outcome(self) -> Outcome:
        """Wait for the answer; the last who waits no longer ends the work."""
        self.waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.task.cancel()


class Answers:
    """`near` keeps them in this process, `far` for others too."""

    def __init__(self, *, near: MemoryCache, far: Cache | None = None, namespace: bytes | None = None) -> None:
        self._near = near
        self._far = far
        self._namespace = b""
        self._uses: dict[bytes, Used] = {}
        self._flights: dict[bytes, _Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.outcomes: Counter[str] = Counter()
        if namespace is not None:
            self.belong_to(namespace)

    def belong_to(self, namespace: bytes) -> None:
        """Keep answers from now on, as those of that namespace; before, each is made."""
        self._namespace = hashlib.blake2b(namespace, digest_size=32).digest()

    async def answer(self, question: Question, make: Make, watch: Watch = nullcontext) -> Response:
        """The answer, kept or made; `watch` is entered where it is not there at once."""
        if not self._namespace:
            with watch():
                return (await make()).response
        request = self._known_by(b"signed in" if question.viewer is not None else b"", question.asked)
        used = key = body = None
        if not question.fresh:
            used, key, body = await self._look(request, question)
        if body is not None:
            return self._hit(question, body)
        with watch():
            return await self._wait_or_make(request, question, make, used, key)

    async def _look(self, request: bytes, question: Question) -> tuple[Used | None, bytes | None, bytes | None]:
        """What the request is known to read, what its answer is kept under now, and the body kept in this process."""
        used = self._uses.get(request)
        key = await self._key_now(request, used, question)
        return used, key, self._near.look(key) if key is not None else None

    def _hit(self, question: Question, body: bytes) -> Response:
        self.outcomes["hit"] += 1
        return question.answered(body)

    async def _wait_or_make(
        self, request: bytes, question: Question, make: Make, used: Used | None, key: bytes | None
    ) -> Response:
        """The answer that others are making, or one of our own."""
        for again in (True, False):
            if key is None:
                break
            flight = self._flights.get(key)
            if flight is None:
                return await self._led(key, self._filled(key, request, used, question, make))
            body = await _joined(flight)
            if body is None:
                break
            if used is not None:
                self.outcomes["joined"] += 1
                return question.answered(body)
            if again:
                # Now it is known what it reads, and for whom the answer is.
                used, key, body = await self._look(request, question)
                if body is not None:
                    return self._hit(question, body)
        self.outcomes["bypass"] += 1
        return (await self._made(request, question, make)).response

    async def close(self) -> None:
        """End what is on its way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _key_now(self, request: bytes, used: Used | None, question: Question) -> bytes | None:
        """What the answer is kept under; None where it has to be made for this question."""
        wanted = question.position.wanted
        if used is None:
            # Nobody knows yet what it reads: who asks the same meanwhile waits for that.
            return None if wanted else self._known_by(request, (question.viewer or "").encode())
        versions = await question.versions.current(used.models)
        if versions is None:
            return None
        if wanted and (_SEARCH in used.models or not all(versions[model].reached(*wanted) for model in used.models)):
            return None
        return self._key(request, used, question.viewer, versions)

    def _key(self, request: bytes, used: Used, viewer: str | None, versions: Mapping[str, Version]) -> bytes:
        whose = (viewer or "").encode() if used.personal else b""
        return self._known_by(request, whose, *(versions[model].token for model in sorted(used.models)))

    def _known_by(self, *parts: bytes) -> bytes:
        digest = hashlib.blake2b(self._namespace, digest_size=24)
        for part in parts:
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.digest()

    async def _led(self, key: bytes, filling: Coroutine[Any, Any, Outcome]) -> Response:
        """Make the answer for all who wait for it."""
        flight = self._flights[key] = _Flight(self._spawn(filling))
        flight.task.add_done_callback(lambda _: self._flights.pop(key, None))
        return (await flight.outcome()).response

    async def _filled(self, key: bytes, request: bytes, used: Used | None, question: Question, make: Make) -> Outcome:
        if used is not None and self._far is not None:
            body = await self._shared(self._far, key)
            if body is not None:
                self.outcomes["shared"] += 1
                # It may be newer than its key tells.
                question.versions.seen(used.models)
                await self._near.set(key, body, self._ttl(used, question.versions.known))
                return Outcome(question.answered(body), body)
        self.outcomes["miss"] += 1
        return await self._made(request, question, make)

    async def _shared(self, far: Cache, key: bytes) -> bytes | None:
        """The answer that another process has made, or is making."""
        body = await far.get(key)
        if body is not None or await far.claim(key + b"?", CLAIM):
            return body
        clock = asyncio.get_running_loop().time
        end = clock() + PATIENCE
        while body is None and clock() < end:
            await asyncio.sleep(random.uniform(0.5, 1.5) * _POLL)
            body = await far.get(key)
        return body

    async def _made(self, request: bytes, question: Question, make: Make) -> Outcome:
        """Make the answer, and keep it under what was known before."""
        before, used = question.versions.known, question.position.used
        try:
            answer = await make()
        finally:
            question.versions.seen(used.models)
        body = bytes(answer.response.body)
        wanted = answer.whole and used.models and not question.position.stale and not used.momentary
        if not wanted or len(body) > ENTRY_LIMIT:
            return Outcome(answer.response, None)
        self._learn(request, used)
        if not all(model in before for model in used.models):
            return Outcome(answer.response, None)
        key, ttl = self._key(request, used, question.viewer, before), self._ttl(used, before)
        self.outcomes["store"] += 1
        await self._near.set(key, body, ttl)
        if self._far is not None:
            self._spawn(self._far.set(key, body, ttl))
        return Outcome(answer.response, body)

    def _learn(self, request: bytes, used: Used) -> None:
        if len(self._uses) >= _MOST_USES and request not in self._uses:
            del self._uses[next(iter(self._uses))]
        self._uses[request] = used

    def _ttl(self, used: Used, versions: Mapping[str, Version]) -> float:
        """Shorter where a reader of the index may have been behind its checkpoint."""
        if _SEARCH in used.models and asyncio.get_running_loop().time() - versions[_SEARCH].since < SETTLED:
            return UNSETTLED_TTL
        return TTL * random.uniform(0.8, 1.0)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Whoever waits for it is told; where nobody does, nobody needs to know.
            task.exception()


async def _joined(flight: _Flight) -> bytes | None:
    """The body that another one's question is answered with, None where it cannot be had."""
    try:
        return (await flight.outcome()).body
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None
    except Exception:
        return None
