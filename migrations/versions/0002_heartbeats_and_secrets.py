"""What the projector last saw of the log, and the secret of cursors. Only adds: older code never looks there."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = (
    # Deleted with its build by the database itself, for older code drops builds without knowing of this table.
    """
create table read.heartbeats (
  model text not null,
  build integer not null,
  heads jsonb not null,
  at_head_at timestamptz not null,
  seen_at timestamptz not null,
  primary key (model, build),
  foreign key (model, build) references read.builds (model, build) on delete cascade
)""",
    "create table read.secrets (name text primary key, value bytea not null)",
    "grant select, insert, update, delete on read.heartbeats, read.secrets to myevents_app",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
