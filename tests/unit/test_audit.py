"""The audit must know every fact there is, and every column of what it audits."""

from __future__ import annotations

from projector.audit import AUDITED, audited_columns
from schema.facts import SCHEMA_VERSIONS
from schema.read_tables import MODELS


def test_the_audit_reads_every_fact_in_its_newest_version() -> None:
    assert AUDITED == SCHEMA_VERSIONS


def test_the_audit_reckons_every_column_but_the_folded_name() -> None:
    columns = {(table.name, column.name) for tables in MODELS.values() for table in tables for column in table.columns}
    left = {column for column in columns if column[1] != "id"} - audited_columns()
    assert left == {("events", "name_folded")}
