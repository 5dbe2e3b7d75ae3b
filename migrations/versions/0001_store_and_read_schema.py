"""The log of facts with what guards its rules, and the registry of the read models."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the whole cluster: another database may have made this one, even at this moment.
_ROLE = """
do $$ begin
  create role myevents_app nologin;
exception when duplicate_object or unique_violation then null;
end $$
"""

_STORE = """
create extension if not exists btree_gist;

create table facts (
  partition smallint not null,
  seq bigint not null,
  stream_id text not null,
  version bigint not null,
  type text not null,
  schema_version smallint not null,
  data jsonb not null,
  metadata jsonb not null,
  recorded_at timestamptz not null,
  primary key (partition, seq),
  unique (stream_id, version)
);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'facts are never changed or deleted' using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete on facts for each statement execute function refuse_change();
create trigger never_emptied before truncate on facts for each statement execute function refuse_change();

create table heads (partition smallint primary key, seq bigint not null);
comment on table heads is
  'One row a partition: the seq of its last fact. Its lock orders the writers of a partition.';
insert into heads select number, 0 from generate_series(0, 15) as number;

create table snapshots (
  stream_id text primary key,
  version bigint not null,
  schema_version smallint not null,
  state bytea not null
);
comment on table snapshots is
  'A stream''s state at a version, to spare reading its facts. Derived: may be deleted.';

create table idempotency (
  user_id text not null,
  key text not null,
  body_hash bytea not null,
  answer bytea not null,
  recorded_at timestamptz not null,
  primary key (user_id, key)
);
comment on table idempotency is 'The answers of accepted commands, by the caller''s Idempotency-Key.';
create index ix_idempotency_recorded_at on idempotency (recorded_at);

create table halls (hall_id text primary key, location_id text not null, capacity integer not null);
comment on table halls is
  'The halls there are, for rules across streams. Locked while an event takes one.';

create table hall_events (
  event_id text primary key,
  hall_id text not null references halls (hall_id),
  capacity integer not null,
  during tstzrange not null,
  constraint one_event_per_hall_and_time exclude using gist (hall_id with =, during with &&)
);
comment on table hall_events is 'Which event has which hall when; not for cancelled ones.';
create index ix_hall_events_hall_id on hall_events (hall_id);
"""

_READ = """
create schema read;

create table read.builds (
  model text not null,
  build integer not null,
  version integer not null,
  state text not null check (state in ('building', 'live', 'old')),
  created_at timestamptz not null default now(),
  primary key (model, build)
);

create table read.checkpoints (
  model text not null,
  build integer not null,
  partition smallint not null,
  seq bigint not null,
  applied_at timestamptz not null default now(),
  primary key (model, build, partition)
);

create table read.parked_streams (
  model text not null,
  build integer not null,
  stream_id text not null,
  partition smallint not null,
  seq bigint not null,
  reason text not null,
  parked_at timestamptz not null default now(),
  primary key (model, build, stream_id)
);
"""

_GRANTS = """
grant myevents_app to current_user;
grant usage on schema public to myevents_app;
grant select, insert on facts to myevents_app;
grant select, update on heads to myevents_app;
grant select, insert, update, delete on snapshots, idempotency, halls, hall_events to myevents_app;
grant usage, create on schema read to myevents_app;
grant select, insert, update, delete on all tables in schema read to myevents_app;
"""


def upgrade() -> None:
    for script in (_ROLE, _STORE, _READ, _GRANTS):
        # One statement at a time, as the driver's protocol wants it; `do` and functions keep their semicolons.
        for statement in _statements(script):
            op.execute(statement)


def _statements(script: str) -> list[str]:
    statements, current = [], ""
    for line in script.strip().splitlines():
        current += line + "\n"
        if line.rstrip().endswith(";") and current.count("$$") % 2 == 0:
            statements.append(current)
            current = ""
    return [*statements, current] if current.strip() else statements
