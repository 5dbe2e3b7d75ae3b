"""Ways to book one seat of an event that tell where the booking is in the log: in this process, or over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from benchmarks.hot_event import ANN
from benchmarks.latency import CALLERS
from benchmarks.plain_http import connections, header
from benchmarks.service import service
from command.inputs import BookingInput
from command.service import CommandService

Book = Callable[[str], Awaitable[str]]
"""Takes an event's id, gives a position."""


@asynccontextmanager
async def in_process(commands: CommandService) -> AsyncIterator[Book]:
    """With commands of this process."""
    one = BookingInput(seats=1)

    async def book(event: str) -> str:
        return (await commands.book_seats(ANN, event, one)).position

    yield book


@asynccontextmanager
async def over_http(dsn: str) -> AsyncIterator[Book]:
    """With a command service of its own, for as many callers at once as there are connections."""
    async with service(["-m", "myevents", "command"], dsn) as port, connections(port, CALLERS) as free:

        async def book(event: str) -> str:
            connection = free.pop()
            head = await connection.head_of(
                "POST", f"/api/events/{event}/bookings", b'{"seats": 1}', f"MyEvents-User: {ANN.user_id}"
            )
            free.append(connection)
            assert head.startswith(b"http/1.1 201"), head
            return header(head, b"myevents-position").decode()

        yield book
