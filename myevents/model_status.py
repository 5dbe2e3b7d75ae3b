"""How far the read models are, by what projectors have written of themselves: without reading facts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
import msgspec

FRESH: Final = 3.0
"""Seconds after its last sign that a projector is no longer thought to be alive; it gives one a second."""


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a read model's build has come: `applied` facts of the `head` that projectors last saw.

    `lag_seconds` is 0 where it has all of them and a projector was there just now; else the time since it last had.
    `heartbeat_age` is in seconds since a projector last looked.
    """

    name: str
    version: int
    state: str
    applied: int
    head: int
    lag_seconds: float
    heartbeat_age: float
    parked_streams: int


async def model_statuses(fetch: Callable[..., Awaitable[Sequence[asyncpg.Record]]]) -> list[ModelStatus]:
    """Every build of every model, by the rows that `fetch` brings of a statement and its arguments."""
    rows = await fetch(
        """select b.model as name, b.version, b.state, p.applied, p.head,
             extract(epoch from case when p.at_head and h.seen_at > now() - make_interval(secs => $1)
               then interval '0' else now() - coalesce(h.at_head_at, b.created_at) end)::float8 as lag_seconds,
             extract(epoch from now() - coalesce(h.seen_at, b.created_at))::float8 as heartbeat_age,
             (select count(*) from read.parked_streams s where s.model = b.model and s.build = b.build)
               as parked_streams
           from read.builds b left join read.heartbeats h using (model, build) cross join lateral (
             select sum(seq)::bigint as applied, bool_and(seq >= seen) as at_head,
               sum(greatest(seq, seen))::bigint as head
             from (select seq, coalesce((h.heads ->> c.partition::text)::bigint, 0) as seen
               from read.checkpoints c where c.model = b.model and c.build = b.build) as partitions) as p
           order by b.model, b.build""",
        FRESH,
    )
    return [ModelStatus(**dict(row)) for row in rows]
