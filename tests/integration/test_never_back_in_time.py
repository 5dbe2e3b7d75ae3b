"""Whatever is booked, applied and asked in whatever order, no answer is older than what the caller has seen or done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from command.inputs import BookingInput, take
from myevents.cache.memory import MemoryCache
from myevents.log.store import StoreLog
from myevents.search.embedded.builds import EmbeddedBuilds
from myevents.store import open_pool
from projector.run import Projector
from schema.tables import PARTITIONS
from tests.command_side import ANN, an_event, command_side
from tests.conftest import in_database
from tests.query_side import AFRESH, QuerySide, query_side
from tests.random_cases import cases

Way = Literal["event", "list", "rest", "rest list"]


class Book(Struct, frozen=True):
    """A seat is booked."""


class Follow(Struct, frozen=True):
    """The read models are brought up."""


class Ask(Struct, frozen=True):
    """The event is asked for, in one of two processes, in one of several ways."""

    process: int
    how: Way
    afresh: bool
    positioned: bool


STEPS = st.lists(
    st.lists(
        st.builds(Book)
        | st.builds(Follow)
        | st.builds(
            Ask,
            st.integers(0, 1),
            st.sampled_from(get_args(Way)),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    min_size=10,
    max_size=40,
)
"""What is in one of the inner lists happens at once."""


@given(steps=STEPS, noticing=st.booleans())
@settings(
    max_examples=cases(15), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_no_answer_is_older_than_the_position_or_than_one_before(
    postgres_url: str, template: str, steps: Sequence[Sequence[Book | Follow | Ask]], noticing: bool
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        # Where nobody applies what was booked, nobody needs to wait long for it.
        patched.setattr("query.position.PATIENCE", 0.05)
        asyncio.run(_lived(postgres_url, template, steps, noticing))


async def _lived(server: str, template: str, steps: Sequence[Sequence[Book | Follow | Ask]], noticing: bool) -> None:
    async with _database(server, template) as url, command_side(url) as commands:
        pool = await open_pool(url, size=16)
        projector = Projector(log=StoreLog(pool, PARTITIONS), pool=pool)
        await projector.prepare()
        event = await an_event(commands, capacity=10_000)
        await projector.catch_up()
        with TemporaryDirectory() as directory:
            search, far = EmbeddedBuilds(Path(directory)), MemoryCache()
            async with (
                query_side(pool, search, far, noticing=noticing) as one,
                query_side(pool, search, far, noticing=noticing) as other,
            ):
                processes = (one, other)
                done, position, seen = 0, "0:0", [0, 0]

                async def act(step: Book | Follow | Ask) -> None:
                    nonlocal done, position
                    match step:
                        case Book():
                            booked = await commands.book_seats(ANN, event, take(BookingInput, {"seats": 1}))
                            done, position = done + 1, max(position, booked.position, key=_seq)
                        case Follow():
                            await projector.catch_up()
                        case Ask():
                            least, told = seen[step.process], done
                            seats, stale = await _asked(processes[step.process], event, step, position)
                            assert seats >= least
                            assert stale or not step.positioned or seats >= told
                            shown[step.process] = max(shown[step.process], seats)

                ways: tuple[Way, ...] = get_args(Way)
                for ask in [Ask(n % 2, how, False, False) for n in range(4) for how in ways]:
                    await _asked(processes[ask.process], event, ask, position)
                for together in steps:
                    shown = list(seen)
                    await asyncio.gather(*map(act, together))
                    seen = shown
            await search.close()
        await pool.close()


async def _asked(process: QuerySide, event: str, step: Ask, position: str) -> tuple[int, bool]:
    """The seats booked, and whether the answer says that it is not of the position."""
    headers = (AFRESH if step.afresh else {}) | ({"MyEvents-Position": position} if step.positioned else {})
    if step.how in ("rest", "rest list"):
        path = f"/api/events/{event}" if step.how == "rest" else "/api/events"
        told = (await process.client.get(path, headers=headers)).json()
        seats: int = (told if step.how == "rest" else told["nodes"][0])["seatsBooked"]
        # REST waits for a position too, but has no way to say that it was in vain.
        return seats, True
    one = "query($id: ID!) { event(id: $id) { seatsBooked } }"
    query = one if step.how == "event" else "{ events { nodes { seatsBooked } } }"
    told = (await process.ask(query, headers, id=event)).json()
    assert "errors" not in told, told
    seats = (told["data"]["event"] if step.how == "event" else told["data"]["events"]["nodes"][0])["seatsBooked"]
    return seats, "stale" in told["extensions"]


def _seq(position: str) -> int:
    return int(position.partition(":")[2])


@asynccontextmanager
async def _database(server: str, template: str) -> AsyncIterator[str]:
    """A database for one history."""
    name = f"kept_{uuid4().hex}"
    owner = await asyncpg.connect(server)
    await owner.execute(f"create database {name} template {template}")
    try:
        yield in_database(server, name)
    finally:
        await owner.execute(f"drop database {name} with (force)")
        await owner.close()
