"""A process of eight buyers, each wanting 1 to 4 seats again and again until nothing fits: prints what they got.

`python -m tests.e2e.buyers URL EVENT SEED`
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from myevents.errors import ErrorCode, Refused
from tests.command_side import book, booking_id, command_side

BUYERS = 8


async def main(url: str, event: str, chance: random.Random) -> dict[str, int]:
    """The bookings made, with their seats."""
    bought: dict[str, int] = {}

    async def buy() -> None:
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
        await asyncio.gather(*(buy() for _ in range(BUYERS)))
    return bought


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], random.Random(sys.argv[3])))))
