"""Answers under the hash of a caller's key. Only adds: older code goes on with `idempotency`, which is still read."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
create table command_answers (
  key_hash bytea not null,
  scope smallint not null,
  body_hash bytea not null,
  answer bytea not null,
  recorded_at timestamptz not null,
  primary key (key_hash, scope)
)""",
    """comment on table command_answers is
  'The answers of accepted commands, by a hash of the caller''s Idempotency-Key. The scope is the partition, or -1.'""",
    "create index ix_command_answers_recorded_at on command_answers (recorded_at)",
    "grant select, insert, update, delete on command_answers to myevents_app",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
