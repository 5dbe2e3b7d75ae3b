"""Group commit: commands queue by partition; a round decides many of them under the partition's lock.

The lock makes a round, not a command, the unit of contention, so several processes may write one partition.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final

import asyncpg
import structlog
from prometheus_client import CollectorRegistry

from command import snapshots, streams
from command.counting import count_refused, count_round
from command.notices import Notices
from command.round import Accepted, Key, Round, Submission
from command.states import StateCache
from command.streams import AnyCommand
from myevents import store
from myevents.errors import ErrorCode, Refused, StoreUnavailable
from myevents.telemetry.commands import CommandMetrics
from myevents.telemetry.tracing import Tracing
from schema.ids import partition_of

ROUND_SIZE: Final = 1000
"""Commands a round decides at most."""

QUEUE_SIZE: Final = 4096
"""Commands that may wait in one partition; one more is refused."""

ATTEMPTS: Final = 4
"""How often a round is tried that another one got in the way of."""

SUBMIT_TIMEOUT_SECONDS: Final = 4.5
"""How long a caller waits at most; less than a request may take, so that the answer says what to do."""

_log = structlog.get_logger()

# The database has surely rolled back: the round can be decided again.
_COLLISIONS: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.UniqueViolationError,
)
_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    # A server that takes no writes, as in a failover, is no fault of any command.
    asyncpg.ReadOnlySQLTransactionError,
)


def _overloaded() -> Refused:
    return Refused(ErrorCode.OVERLOADED, "Too many commands are waiting: try again shortly.", (), 1.0)


def _unknown() -> StoreUnavailable:
    return StoreUnavailable("The store did not answer in time: send it again with the same Idempotency-Key.")


def _newer() -> Refused:
    message = "A newer version of this service has written here, and takes this command: send it again."
    return Refused(ErrorCode.OVERLOADED, message, (), 1.0)


class Writer:
    """Takes commands and answers each once its facts are committed, or it is refused."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partitions: int,
        *,
        queue_size: int = QUEUE_SIZE,
        metrics: CommandMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._notices = Notices(pool)
        metrics = metrics or CommandMetrics(CollectorRegistry())
        tracing = tracing or Tracing()
        self._partitions = [
            Partition(pool, self._notices, number, queue_size, metrics, tracing) for number in range(partitions)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._notifier: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Writer:
        self._notifier = asyncio.create_task(self._notices.run())
        self._tasks = [asyncio.create_task(partition.run()) for partition in self._partitions]
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Refuse what waits, let the rounds under way end."""
        for partition in self._partitions:
            partition.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._notifier is not None:
            self._notifier.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._notifier

    def give_up(self) -> None:
        """Take no more and answer everybody at once: what has not been begun is refused, the rest is not known."""
        for partition in self._partitions:
            partition.give_up()

    async def submit(self, command: AnyCommand, key: Key | None = None) -> Accepted:
        """Decide and record `command`; raises `Refused`, or `StoreUnavailable` where its fate is not known."""
        stream_id = streams.stream_of(command)
        partition = self._partitions[partition_of(stream_id, len(self._partitions))]
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        partition.put(Submission(command=command, stream_id=stream_id, key=key, future=future))
        timer = asyncio.get_running_loop().call_later(SUBMIT_TIMEOUT_SECONDS, _expire, future)
        try:
            return await future
        finally:
            timer.cancel()


class Partition:
    """One partition's bounded queue, and the task that empties it round by round."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        notices: Notices,
        number: int,
        queue_size: int,
        metrics: CommandMetrics,
        tracing: Tracing,
    ) -> None:
        self._pool = pool
        self._notices = notices
        self._number = number
        self._queue: deque[Submission] = deque()
        self._queue_size = queue_size
        self._more = asyncio.Event()
        self._cache = StateCache()
        self._snapshots = snapshots.Schedule(pool)
        self._closed = False
        self._in_hand: list[Submission] = []
        self._metrics = metrics
        self._tracing = tracing
        metrics.watch(number, lambda: len(self._queue))

    def put(self, submission: Submission) -> None:
        """Queue a command; raises `Refused` with OVERLOADED where the queue is full or closed."""
        if self._closed or len(self._queue) >= self._queue_size:
            full = _overloaded()
            count_refused(self._metrics, (submission,), full)
            raise full
        self._queue.append(submission)
        self._more.set()

    def close(self) -> None:
        """Take no more; what has not been begun is refused."""
        self._closed = True
        count_refused(self._metrics, self._queue, _overloaded())
        while self._queue:
            _tell(self._queue.popleft(), _overloaded())
        self._more.set()

    def give_up(self) -> None:
        """Close, and tell those whose round is under way that its end is not known."""
        self.close()
        for submission in self._in_hand:
            _tell(submission, _unknown())

    async def run(self) -> None:
        """Serve rounds until closed."""
        while not self._closed:
            await self._more.wait()
            self._more.clear()
            while self._queue:
                self._in_hand = [self._queue.popleft() for _ in range(min(ROUND_SIZE, len(self._queue)))]
                await self._serve(self._in_hand)
        await self._snapshots.close()

    async def _serve(self, batch: list[Submission]) -> None:
        attributes = {"myevents.partition": self._number, "myevents.commands": len(batch)}
        with self._tracing.linked("round", (s.command.traceparent for s in batch), attributes):
            await self._decide(batch)

    async def _decide(self, batch: list[Submission]) -> None:
        """Decide, commit and answer the batch; where an error that nobody foresaw ends it, its halves by themselves.

        So one command that cannot be decided or recorded fails alone. Nothing of a failed batch was committed.
        """
        try:
            await self._commit(batch)
        except (Refused, StoreUnavailable) as error:
            self._reject(batch, error)
            return
        except Exception as error:
            if len(batch) == 1:
                _log.exception("command_failed", partition=self._number, command=type(batch[0].command).__name__)
                self._reject(batch, error)
                return
            _log.warning("round_split", partition=self._number, commands=len(batch), reason=type(error).__name__)
        else:
            return
        middle = len(batch) // 2
        await self._decide(batch[:middle])
        await self._decide(batch[middle:])

    def _reject(self, batch: list[Submission], error: Exception) -> None:
        """Count commands that came to no round's end, and answer their callers."""
        count_refused(self._metrics, batch, error)
        for submission in batch:
            _tell(submission, error)

    async def _commit(self, batch: list[Submission]) -> None:
        """Try until the batch is committed, and answer its callers.

        Raises `Refused`, `StoreUnavailable`, or what nobody foresaw: then nobody of the batch has been answered.
        """
        for attempt in range(ATTEMPTS):
            try:
                current, head, appended = await self._attempt(batch)
            except store.KeyRaced as error:
                others, raced = _split_by_keys(batch, error.key_hashes)
                if others:
                    await self._decide(others)
                    await self._decide(raced)
                    return
                await self._pause(attempt, error)
            except _COLLISIONS as collision:
                await self._pause(attempt, collision)
            except store.UnreadableStreams as newer:
                await self._without(newer.streams, batch)
                return
            except _LOST as lost:
                if isinstance(lost, ValueError):
                    # What the driver says of an argument that it cannot send: a command's fault, not a lost server.
                    raise
                raise _unknown() from lost
            else:
                self._keep(current, head, appended)
                for submission, outcome in current.outcomes:
                    _tell(submission, outcome)
                return
        raise _overloaded()

    async def _pause(self, attempt: int, reason: Exception) -> None:
        _log.info("round_collided", partition=self._number, reason=type(reason).__name__)
        await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))

    async def _without(self, streams: Collection[str], batch: list[Submission]) -> None:
        """Refuse what is of streams that newer code has written, as in a rolling upgrade; decide the rest."""
        _log.warning("streams_unreadable", partition=self._number, streams=sorted(streams))
        rest, unreadable = _split(batch, lambda submission: submission.stream_id in streams)
        for submission in unreadable:
            _tell(submission, _newer())
        if rest:
            await self._decide(rest)

    async def _attempt(self, batch: list[Submission]) -> tuple[Round, int, bool]:
        """The committed round, the partition's head then, and whether it moved."""
        async with self._pool.acquire(timeout=5) as connection:
            current = Round(connection, self._number, self._cache)
            async with connection.transaction():
                head, appended = await current.run(batch)
                decided = time.perf_counter()
        self._metrics.committed(len(batch), time.perf_counter() - decided)
        return current, head, appended

    def _keep(self, current: Round, head: int, appended: bool) -> None:
        """Take over what a round has committed. An error here fails no command: all of them are recorded by now."""
        try:
            count_round(self._metrics, current)
            self._cache.keep(head, current.states)
            if appended:
                self._notices.reached(self._number, head)
                self._snapshots.consider(current.states)
        except Exception:
            _log.exception("round_not_kept", partition=self._number)


def _split(
    batch: Iterable[Submission], chosen: Callable[[Submission], bool]
) -> tuple[list[Submission], list[Submission]]:
    """Those that are not chosen, and those that are; each in the order in which they came."""
    others: list[Submission] = []
    found: list[Submission] = []
    for submission in batch:
        (found if chosen(submission) else others).append(submission)
    return others, found


def _split_by_keys(
    batch: Iterable[Submission], key_hashes: Collection[bytes]
) -> tuple[list[Submission], list[Submission]]:
    return _split(batch, lambda submission: submission.key is not None and submission.key.key_hash in key_hashes)


def _expire(future: asyncio.Future[Accepted]) -> None:
    """Answer a caller whose command took too long; a round that has not begun with it passes it over."""
    if not future.done():
        future.set_exception(_unknown())


def _tell(submission: Submission, outcome: Accepted | Exception) -> None:
    """Answer the caller, unless it has gone."""
    if submission.future.done():
        return
    if isinstance(outcome, Accepted):
        submission.future.set_result(outcome)
    elif isinstance(outcome, StopIteration):
        # The one error that a future refuses; raised here, it would end the round after its commit.
        submission.future.set_exception(RuntimeError("a command ended by StopIteration"))
    else:
        submission.future.set_exception(outcome)
