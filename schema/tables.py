"""The write side's tables: the log of facts and what guards its rules. Read models are in `schema.read_tables`."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE, ExcludeConstraint

PARTITIONS: Final = 16
"""How many partitions a new store gets; fixed for its life."""

APP_ROLE: Final = "myevents_app"
"""The role of those who look after the database: it may add facts and read them, never change or delete one, and
make and drop tables of read models. Services of the first release ran as it."""

COMMAND_ROLE: Final = "myevents_command"
"""Adds facts, reads them, and writes what guards their rules."""

PROJECTOR_ROLE: Final = "myevents_projector"
"""Reads facts, and writes rows of the read models; it makes and drops no table."""

QUERY_ROLE: Final = "myevents_query"
"""Reads the read models, writes nothing."""

RELAY_ROLE: Final = "myevents_relay"
"""Reads facts, and writes the relays' leases and audits."""

SERVICE_ROLES: Final = (COMMAND_ROLE, PROJECTOR_ROLE, QUERY_ROLE, RELAY_ROLE)

FACTS_CHANNEL: Final = "myevents_facts"
"""NOTIFY channel: the payload is the position, `partition:seq`, that has become readable."""

metadata: Final = sa.MetaData()
_time: Final = sa.DateTime(timezone=True)

facts: Final = sa.Table(
    "facts",
    metadata,
    sa.Column("partition", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("stream_id", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("schema_version", sa.SmallInteger, nullable=False),
    sa.Column("data", JSONB, nullable=False),
    sa.Column("metadata", JSONB, nullable=False),
    sa.Column("recorded_at", _time, nullable=False),
    sa.UniqueConstraint("stream_id", "version"),
)

heads: Final = sa.Table(
    "heads",
    metadata,
    sa.Column("partition", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    comment="One row a partition: the seq of its last fact. Its lock orders the writers of a partition.",
)

snapshots: Final = sa.Table(
    "snapshots",
    metadata,
    sa.Column("stream_id", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("schema_version", sa.SmallInteger, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
    comment="A stream's state at a version, to spare reading its facts. Derived: may be deleted.",
)

idempotency: Final = sa.Table(
    "idempotency",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("recorded_at", _time, nullable=False, index=True),
    comment="The answers of accepted commands, by the caller's Idempotency-Key.",
)
"""What the release before has remembered: read, and forgotten with time, but not written any more."""

command_answers: Final = sa.Table(
    "command_answers",
    metadata,
    sa.Column("key_hash", sa.LargeBinary, primary_key=True),
    sa.Column("scope", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("recorded_at", _time, nullable=False, index=True),
    comment="The answers of accepted commands, by a hash of the caller's Idempotency-Key. "
    "The scope is the partition, or -1.",
)

halls: Final = sa.Table(
    "halls",
    metadata,
    sa.Column("hall_id", sa.Text, primary_key=True),
    sa.Column("location_id", sa.Text, nullable=False),
    sa.Column("capacity", sa.Integer, nullable=False),
    comment="The halls there are, for rules across streams. Locked while an event takes one.",
)

hall_events: Final = sa.Table(
    "hall_events",
    metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("hall_id", sa.Text, sa.ForeignKey("halls.hall_id"), nullable=False, index=True),
    sa.Column("capacity", sa.Integer, nullable=False),
    sa.Column("during", TSTZRANGE, nullable=False),
    ExcludeConstraint(("hall_id", "="), ("during", "&&"), name="one_event_per_hall_and_time", using="gist"),
    comment="Which event has which hall when; not for cancelled ones.",
)

relay_leases: Final = sa.Table(
    "relay_leases",
    metadata,
    sa.Column("partition", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("holder", sa.Text),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("expires_at", _time, nullable=False, server_default="-infinity"),
    sa.Column("topic_id", sa.Text),
    sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
)
"""Which relay leads a partition until when, fenced by `epoch`; `seq` is the last fact that the topic surely has."""

relays: Final = sa.Table(
    "relays",
    metadata,
    sa.Column("relay", sa.Text, primary_key=True),
    sa.Column("expires_at", _time, nullable=False),
)
"""The relays that live, to share the partitions out among."""

relay_audits: Final = sa.Table(
    "relay_audits",
    metadata,
    sa.Column("partition", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("topic_id", sa.Text, nullable=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("whole", sa.BigInteger, nullable=False),
    sa.Column("full_at", _time, nullable=False),
)
"""How far a partition of the topic was audited: the topic has every fact up to `whole` before `next_offset`."""
