"""The builds of a read model: their tables, their indexes, and the view that shows the live one."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from projector.model import Connection, ReadModel
from schema.read_tables import INDEXES, MODELS, READ_SCHEMA

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


async def ensure_live(connection: Connection, model: ReadModel, partitions: int) -> int:
    """Make the first build of `model` where there is none yet; the version of the one that serves.

    Safe from several processes at once, of several versions too: a build that serves is left alone.
    """
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtext('myevents builds'))")
        version: int | None = await connection.fetchval(
            "select version from read.builds where model = $1 and state = 'live'", model.name
        )
        if version is None:
            await create(connection, model, 1, partitions, state="live")
            await show(connection, model, 1)
        return version or model.version


async def create(connection: Connection, model: ReadModel, build: int, partitions: int, *, state: str) -> None:
    """Make the empty tables of a build, and its checkpoints at 0."""
    for table in MODELS[model.name]:
        made = table.to_metadata(sa.MetaData(), schema=READ_SCHEMA, name=f"{table.name}_{build:d}")
        await connection.execute(str(CreateTable(made).compile(dialect=_DIALECT)))
        for columns in INDEXES.get(table.name, ()):
            await connection.execute(f"create index on {READ_SCHEMA}.{made.name} ({', '.join(columns)})")
    await connection.execute(
        "insert into read.builds (model, build, version, state) values ($1, $2, $3, $4)",
        model.name,
        build,
        model.version,
        state,
    )
    await connection.execute(
        "insert into read.checkpoints (model, build, partition, seq) select $1, $2, p, 0 from generate_series(0, $3) p",
        model.name,
        build,
        partitions - 1,
    )


async def show(connection: Connection, model: ReadModel, build: int) -> None:
    """Let the views show the tables of `build`."""
    for table in MODELS[model.name]:
        await connection.execute(
            f"create or replace view {READ_SCHEMA}.{table.name} as select * from {READ_SCHEMA}.{table.name}_{build:d}"
        )
