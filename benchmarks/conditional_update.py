"""The baseline over HTTP: what most services do, as lean as it gets, on the same server software as ours."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schema.ids import new_id
from schema.sessions import SESSION_SETTINGS


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Connections while it serves."""
    async with asyncpg.create_pool(
        os.environ["MYEVENTS_DATABASE_URL"], min_size=24, max_size=24, server_settings=dict(SESSION_SETTINGS)
    ) as pool:
        app.state.pool = pool
        yield


async def book(request: Request) -> Response:
    """Take the seats where there are any, and insert the booking, in one transaction."""
    seats = orjson.loads(await request.body())["seats"]
    booking = new_id("bkg")
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        taken = await connection.execute(
            "update bench_event set seats_left = seats_left - $1 where id = 1 and seats_left >= $1", seats
        )
        if taken != "UPDATE 1":
            return Response(status_code=409)
        user = request.headers.get("MyEvents-User")
        await connection.execute("insert into bench_booking values ($1, $2, $3)", booking, user, seats)
    return Response(orjson.dumps({"id": booking, "seats": seats}), 201, media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/bookings", book, methods=["POST"])], lifespan=lifespan)
    uvicorn.run(app, port=int(os.environ["MYEVENTS_PORT"]), log_config=None, access_log=False)
