"""Who relays which partition to Kafka, how far, and how far it was audited. Only adds: older code never looks there."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
create table relay_leases (
  partition smallint primary key,
  holder text,
  epoch bigint not null default 0,
  expires_at timestamptz not null default '-infinity',
  topic_id text,
  seq bigint not null default 0
)""",
    "insert into relay_leases (partition) select partition from heads",
    "create table relays (relay text primary key, expires_at timestamptz not null)",
    """
create table relay_audits (
  partition smallint primary key,
  topic_id text not null,
  next_offset bigint not null,
  whole bigint not null,
  full_at timestamptz not null
)""",
    "grant select, insert, update, delete on relay_leases, relays, relay_audits to myevents_app",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
