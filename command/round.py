"""One round: many commands of one partition decided under its lock and committed once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
import structlog
from msgspec import Struct

from command import halls, streams
from command.commands import Answer, HallOnOffer
from command.location.commands import ChangeHall, RemoveHall
from command.states import StateCache
from command.streams import AnyCommand, State
from myevents import store
from myevents.errors import ErrorCode, Refused
from myevents.store import Connection, NewFact, RememberedAnswer
from schema.facts import Fact, Metadata


class Accepted(Struct, frozen=True, kw_only=True):
    """The answer to an accepted command; `position` is `partition:seq` of its last fact."""

    answer: Answer
    position: str


class Key(Struct, frozen=True, kw_only=True):
    """A caller's Idempotency-Key, of which a hash is stored, and the hash of what was asked with it."""

    user_id: str
    key: str
    key_hash: bytes
    body_hash: bytes
    creates: bool = False
    """Whether the command creates its own stream: the same request sent again goes to another stream then."""


class Submission(Struct, frozen=True, kw_only=True, eq=False):
    """A command that waits for its round."""

    command: AnyCommand
    stream_id: str
    key: Key | None
    future: asyncio.Future[Accepted]


_log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode
_accepted = msgspec.json.Decoder(Accepted)
_REUSED = Refused(
    ErrorCode.IDEMPOTENCY_KEY_REUSED,
    "This Idempotency-Key was used for another request: use a new one.",
    ("Idempotency-Key",),
)


class Round:
    """Decides commands in order against running states, and writes what comes of them."""

    def __init__(self, connection: Connection, partition: int, cache: StateCache) -> None:
        self._connection = connection
        self._partition = partition
        self._cache = cache
        self._head = 0
        self._answers: list[RememberedAnswer] = []
        self._remembered: dict[bytes, tuple[bytes, bytes]] = {}
        self._halls: dict[str, HallOnOffer] = {}
        self.states: dict[str, State] = {}
        self.facts: list[NewFact] = []
        self.outcomes: list[tuple[Submission, Accepted | Exception]] = []
        self.repeated: set[Submission] = set()

    async def run(self, batch: list[Submission]) -> tuple[int, bool]:
        """Decide and write the batch inside the caller's transaction; the partition's head then, and whether it moved.

        Only after its commit may `outcomes` be told to the callers and `states` be cached.
        Raises `KeyRaced` where another round took some of the keys meanwhile.
        """
        self._head = await store.lock_head(self._connection, self._partition)
        self.states = await self._cache.load(self._connection, self._head, {s.stream_id for s in batch})
        keys = {s.key.key_hash: (s.key.user_id, s.key.key) for s in batch if s.key is not None}
        if keys:
            self._remembered = await store.remembered(self._connection, keys)
        await self._lock_halls(batch)
        waiting = batch
        while waiting:
            waiting = await self._wave(waiting)
        if not self.facts and not self._answers:
            return self._head, False
        head = await store.append(self._connection, self._partition, self._head, self.facts, self._answers)
        return head, head != self._head

    async def _lock_halls(self, batch: Iterable[Submission]) -> None:
        alone = {s.command.hall.hall_id for s in batch if isinstance(s.command, ChangeHall)}
        alone |= {s.command.hall_id for s in batch if isinstance(s.command, RemoveHall)}
        shared = {streams.hall_wanted(self.states[s.stream_id], s.command) for s in batch} - {None}
        if alone or shared:
            self._halls = await halls.lock(self._connection, {hall for hall in shared if hall}, alone)

    async def _wave(self, waiting: list[Submission]) -> list[Submission]:
        """Decide what can be decided now; give back what must wait for the rules across streams to be settled."""
        later: list[Submission] = []
        unsettled: list[tuple[Submission, list[Fact], State, list[halls.Claim]]] = []
        blocked: set[str | bytes] = set()
        for submission in waiting:
            key = submission.key.key_hash if submission.key else None
            if submission.stream_id in blocked or (key is not None and key in blocked):
                later.append(submission)
            elif submission.future.done() or self._replayed(submission):
                continue
            else:
                decided = self._decided(submission)
                if decided is None:
                    continue
                facts, state, claims = decided
                if claims:
                    unsettled.append((submission, facts, state, claims))
                    blocked.add(submission.stream_id)
                    if key is not None:
                        blocked.add(key)
                else:
                    self._accept(submission, facts, state)
        if unsettled:
            verdicts = await halls.settle(self._connection, [claims for *_, claims in unsettled])
            for (submission, facts, state, _), verdict in zip(unsettled, verdicts, strict=True):
                if verdict is None:
                    self._accept(submission, facts, state)
                else:
                    self.outcomes.append((submission, verdict))
        return later

    def _replayed(self, submission: Submission) -> bool:
        """Answer from memory where the caller's key is known."""
        key = submission.key
        known = self._remembered.get(key.key_hash) if key else None
        if key is None or known is None:
            return False
        body_hash, answer = known
        if body_hash == key.body_hash:
            self.repeated.add(submission)
            self.outcomes.append((submission, _accepted.decode(answer)))
        else:
            self.outcomes.append((submission, _REUSED))
        return True

    def _decided(self, submission: Submission) -> tuple[list[Fact], State, list[halls.Claim]] | None:
        """The facts, the state with them and the claims; None where the command has failed, which is an outcome.

        Nothing has changed by then, so that an error that nobody foresaw fails this command alone.
        """
        state = self.states[submission.stream_id]
        command = submission.command
        wanted = streams.hall_wanted(state, command)
        try:
            facts = streams.decide(state, command, self._halls.get(wanted) if wanted else None)
            for fact in facts:
                state = streams.evolve(state, fact)
            return facts, state, halls.claims(submission.stream_id, facts, state)
        except Refused as refused:
            self.outcomes.append((submission, refused))
        except Exception as error:
            _log.exception("command_failed", command=type(command).__name__, stream=submission.stream_id)
            self.outcomes.append((submission, error))
        return None

    def _accept(self, submission: Submission, facts: list[Fact], state: State) -> None:
        command = submission.command
        before = self.states[submission.stream_id].version
        metadata = Metadata(command_id=command.command_id, user_id=command.user_id, traceparent=command.traceparent)
        for number, fact in enumerate(facts, start=before + 1):
            self.facts.append(
                NewFact(
                    stream_id=submission.stream_id,
                    version=number,
                    fact=fact,
                    metadata=metadata,
                    recorded_at=command.at,
                )
            )
        self.states[submission.stream_id] = state
        accepted = Accepted(
            answer=streams.answer(submission.stream_id, state, command, facts),
            position=f"{self._partition}:{self._head + len(self.facts)}",
        )
        self.outcomes.append((submission, accepted))
        self._remember(submission, accepted)

    def _remember(self, submission: Submission, accepted: Accepted) -> None:
        key = submission.key
        if key is None:
            return
        answer = _encode(accepted)
        self._remembered[key.key_hash] = (key.body_hash, answer)
        self._answers.append(
            RememberedAnswer(
                key_hash=key.key_hash,
                scope=store.EVERYWHERE if key.creates else self._partition,
                body_hash=key.body_hash,
                answer=answer,
                recorded_at=submission.command.at,
            )
        )
