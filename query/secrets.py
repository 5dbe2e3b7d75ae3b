"""The secret that signs cursors, where none is given: kept in the read schema, so that all query services share it.

It guards no data, only against cursors made up by callers; who can read the database needs no cursor.
"""

from __future__ import annotations

import secrets

import asyncpg


async def kept_secret(pool: asyncpg.Pool) -> bytes:
    """The database's own secret, made by whoever asks first."""
    async with pool.acquire(timeout=5) as connection:
        await connection.execute(
            "insert into read.secrets (name, value) values ('cursors', $1) on conflict do nothing",
            secrets.token_bytes(32),
        )
        secret: bytes = await connection.fetchval("select value from read.secrets where name = 'cursors'")
        return secret
