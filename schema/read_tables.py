"""The read models' tables. Each exists in builds, `events_1`, `events_2`...; a view `events` shows the live one.

They may be dropped and rebuilt from the log at any time. Queries read the views, projectors write the builds.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

READ_SCHEMA: Final = "read"
CHECKPOINTS_CHANNEL: Final = "myevents_checkpoints"
"""NOTIFY channel: the payload is `model:partition:seq`, what a live build has come to."""

metadata: Final = sa.MetaData(schema=READ_SCHEMA)
_time: Final = sa.DateTime(timezone=True)

builds: Final = sa.Table(
    "builds",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("build", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, sa.CheckConstraint("state in ('building', 'live', 'old')"), nullable=False),
    sa.Column("created_at", _time, nullable=False, server_default=sa.func.now()),
)
"""The builds of each read model, one of them live; `version` is that of the model's code."""

checkpoints: Final = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("build", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("partition", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("applied_at", _time, nullable=False, server_default=sa.func.now()),
)
"""The last seq of each partition that a build has applied; moved in the transaction that moves its rows."""

parked_streams: Final = sa.Table(
    "parked_streams",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("build", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stream_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.SmallInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("parked_at", _time, nullable=False, server_default=sa.func.now()),
)
"""Streams set aside because the fact at (partition, seq) could not be applied; the rest goes on."""

heartbeats: Final = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("build", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("heads", JSONB, nullable=False),
    sa.Column("at_head_at", _time, nullable=False),
    sa.Column("seen_at", _time, nullable=False),
    sa.ForeignKeyConstraint(("model", "build"), (builds.c.model, builds.c.build), ondelete="CASCADE"),
)
"""What projectors last saw of the log beside each build: `heads`, the last seq by partition, at `seen_at`. The build is
known to have all that was there at `at_head_at`. Where no projector is alive, `seen_at` grows old and tells it."""

secrets: Final = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
"""What query services keep between them: the secret that signs cursors."""


def _location_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("city", sa.Text),
        sa.Column("country", sa.Text, nullable=False),
        sa.Column("latitude", sa.Float),
        sa.Column("longitude", sa.Float),
        sa.Column("open_time", sa.SmallInteger),
        sa.Column("close_time", sa.SmallInteger),
        sa.Column("halls", JSONB, nullable=False, comment="A list of schema.facts.Hall as JSON, in order of adding"),
        sa.Column("version", sa.BigInteger, nullable=False),
    ]


locations: Final = sa.Table("locations", metadata, sa.Column("id", sa.Text, primary_key=True), *_location_columns())

events: Final = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_folded", sa.Text, nullable=False, comment="schema.folding.fold(name): to filter and sort by"),
    sa.Column("description", sa.Text),
    sa.Column("url", sa.Text),
    sa.Column("topics", ARRAY(sa.Text), nullable=False),
    sa.Column("seats_per_person", sa.Integer),
    sa.Column("status", sa.Text, nullable=False, comment="DRAFT, PUBLISHED or CANCELLED"),
    sa.Column("starts_at", _time, nullable=False),
    sa.Column("ends_at", _time, nullable=False),
    sa.Column("time_zone", sa.Text),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("capacity", sa.Integer, nullable=False),
    sa.Column("seats_booked", sa.Integer, nullable=False),
    sa.Column("seats_available", sa.Integer, nullable=False, comment="0 once cancelled"),
    sa.Column(
        "ticket_types",
        JSONB,
        nullable=False,
        comment="schema.facts.TicketType as JSON, and seatsBooked: schema.read_models.TicketTypeRow",
    ),
    sa.Column("organizer_id", sa.Text),
    sa.Column("location_id", sa.Text),
    sa.Column("hall_id", sa.Text),
    sa.Column("location", JSONB, comment="The location as it is now: schema.read_models.LocationRow as JSON"),
    sa.Column("city", sa.Text),
    sa.Column("country", sa.Text),
    sa.Column("latitude", sa.Float),
    sa.Column("longitude", sa.Float),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)
bookings: Final = sa.Table(
    "bookings",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, comment="CONFIRMED or CANCELLED"),
    sa.Column("seats", sa.Integer, nullable=False),
    sa.Column("lines", JSONB, nullable=False, comment="A list of schema.facts.Line as JSON"),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, comment="Of the event's last fact that touched it"),
)

event_locations: Final = sa.Table(
    "event_locations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("location", JSONB, comment="schema.read_models.LocationRow as JSON; null until its facts have come"),
)
"""The locations as the events model knows them. A row's lock orders an event's coming and its location's change."""

INDEXES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "events": (
        ("starts_at", "id"),
        ("name_folded", "id"),
        ("created_at", "id"),
        ("seats_available", "id"),
        ("country", "city"),
        ("location_id",),
    ),
    "bookings": (("event_id", "user_id"), ("user_id", "id")),
    "locations": (("country", "city"),),
}
"""The columns of each table's indexes."""

MODELS: Final[dict[str, tuple[sa.Table, ...]]] = {
    "events": (events, event_locations),
    "locations": (locations,),
    "bookings": (bookings,),
}
"""The tables that each read model exists of, by the model's name."""
