"""The secret that signs cursors, where none is given: kept in the read schema, so that all query services share it.

It guards no data, only against cursors made up by callers; who can read the database needs no cursor.
"""

from __future__ import annotations

import secrets
from typing import Final

import asyncpg

from query.sources import Reading

_SECRET: Final = "select value from read.secrets where name = 'cursors'"


async def kept_secret(pool: asyncpg.Pool) -> bytes:
    """Return the database's own secret; make it where there is none, for which the query service has not the rights."""
    async with pool.acquire(timeout=5) as connection:
        secret: bytes | None = await connection.fetchval(_SECRET)
        if secret is None:
            await connection.execute(
                "insert into read.secrets (name, value) values ('cursors', $1) on conflict do nothing",
                secrets.token_bytes(32),
            )
            secret = await connection.fetchval(_SECRET)
        return bytes(secret or b"")


async def known_secret(reading: Reading) -> bytes:
    """The secret where somebody made it before, from any server that has it; empty where nobody did.

    Raises `Refused` where none answers.
    """
    rows = await reading.fetch(_SECRET)
    return bytes(rows[0][0]) if rows else b""
