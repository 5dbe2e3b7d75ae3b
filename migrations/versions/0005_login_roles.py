"""A login role for each service, with what it needs and no more. Only adds: older code goes on as `myevents_app`."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ROLES = ("myevents_command", "myevents_query", "myevents_projector", "myevents_relay")

# Roles belong to the whole cluster: another database may have made this one, even at this moment. Without a password
# nobody logs in over the network; the owner may act as each, and needs no grant for that where it is a superuser.
_CREATE_ROLE = """
do $$ begin
  begin
    create role {role} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;
  exception when duplicate_object or unique_violation then null;
  end;
  if current_setting('is_superuser') <> 'on' then
    grant {role} to current_user;
  end if;
  execute format('grant connect on database %I to {role}', current_database());
end $$
"""

# What the role of all services may do with the tables of commands, whichever those are, but for the relay's.
_COMMAND = """
do $$ declare granted record; begin
  for granted in
    select table_name, string_agg(distinct privilege_type, ', ') as privileges from information_schema.role_table_grants
    where grantee = 'myevents_app' and table_schema = 'public' and table_name !~ '^relay'
    group by table_name
  loop
    execute format('grant %s on public.%I to myevents_command', granted.privileges, granted.table_name);
  end loop;
end $$
"""

_STATEMENTS = (
    *(_CREATE_ROLE.format(role=role) for role in _ROLES),
    "grant usage on schema public to myevents_command, myevents_projector, myevents_relay",
    f"grant select on schema_revision to {', '.join(_ROLES)}",
    _COMMAND,
    "grant select on facts, heads to myevents_projector, myevents_relay",
    "grant select, insert, update, delete on relay_leases, relays, relay_audits to myevents_relay",
    # Nobody makes tables of a build meanwhile; those made later, by older code too, have the same grants by default.
    "select pg_advisory_xact_lock(hashtext('myevents builds'))",
    "grant usage on schema read to myevents_projector, myevents_query",
    """alter default privileges for role myevents_app in schema read
       grant select, insert, update, delete on tables to myevents_projector""",
    "alter default privileges for role myevents_app in schema read grant select on tables to myevents_query",
    "grant select, insert, update, delete on all tables in schema read to myevents_projector",
    "grant select on all tables in schema read to myevents_query",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
