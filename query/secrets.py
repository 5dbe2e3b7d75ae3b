"""The secret that signs cursors, where none is given: kept in the read schema, so that all query services share it.

It guards no data, only against cursors made up by callers; who can read the database needs no cursor.
"""

from __future__ import annotations

import secrets

import asyncpg

from query.sources import Reading


async def kept_secret(pool: asyncpg.Pool) -> bytes:
    """The database's own secret, made by whoever asks first."""
    async with pool.acquire(timeout=5) as connection:
        await connection.execute(
            "insert into read.secrets (name, value) values ('cursors', $1) on conflict do nothing",
            secrets.token_bytes(32),
        )
        secret: bytes = await connection.fetchval("select value from read.secrets where name = 'cursors'")
        return secret


async def known_secret(reading: Reading) -> bytes:
    """The secret where somebody made it before, from any server that has it; empty where nobody did.

    Raises `Refused` where none answers.
    """
    rows = await reading.fetch("select value from read.secrets where name = 'cursors'")
    return bytes(rows[0][0]) if rows else b""
