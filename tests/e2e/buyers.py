"""A process of eight buyers, each wanting 1 to 4 seats again and again until nothing fits, of one event after another.

`python -m tests.e2e.buyers URL SEED EVENT...` prints what they got: by event, bookings and their seats.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from myevents.errors import ErrorCode, Refused
from tests.command_side import book, booking_id, command_side

BUYERS = 8


async def main(url: str, chance: random.Random, events: list[str]) -> dict[str, dict[str, int]]:
    """The bookings made of each event, with their seats."""
    made: dict[str, dict[str, int]] = {event: {} for event in events}

    async def buy(event: str) -> None:
        bought = made[event]
        refused = 0
        while refused < 3:
            seats = chance.randint(1, 4)
            try:
                bought[booking_id(await book(service, event, seats))] = seats
            except Refused as error:
                if error.code is not ErrorCode.SOLD_OUT:
                    raise
                refused += 1
        # At the end a single seat is wanted, so that none may be left.
        try:
            bought[booking_id(await book(service, event, 1))] = 1
        except Refused as error:
            if error.code is not ErrorCode.SOLD_OUT:
                raise

    async with command_side(url) as service:
        for event in events:
            await asyncio.gather(*(buy(event) for _ in range(BUYERS)))
    return made


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1], random.Random(sys.argv[2]), sys.argv[3:]))))
