"""A fact that nobody can read."""

from __future__ import annotations

import asyncpg


async def append_nonsense(database_url: str, stream: str) -> None:
    """A fact from the future, of a type that nobody knows yet."""
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        partition = await connection.fetchval("select partition from facts where stream_id = $1 limit 1", stream)
        seq = await connection.fetchval("update heads set seq = seq + 1 where partition = $1 returning seq", partition)
        await connection.execute(
            """insert into facts (partition, seq, stream_id, version, type, schema_version, data, metadata, recorded_at)
               select $1, $2, $3, max(version) + 1, 'EventSoldToMars', 1, '{}', '{"commandId": "cmd_x"}', now()
               from facts where stream_id = $3""",
            partition,
            seq,
            stream,
        )
    await connection.close()
