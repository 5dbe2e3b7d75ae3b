"""Alembic's way in: it runs on the connection that `migrations.run` hands over."""

from __future__ import annotations

from alembic import context

from migrations.run import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], target_metadata=None, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
