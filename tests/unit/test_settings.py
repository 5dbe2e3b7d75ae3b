"""What the environment says of databases."""

from __future__ import annotations

import pytest

from myevents.errors import SettingsError
from myevents.settings import Settings


def replicas(value: str) -> tuple[str, ...]:
    """The servers that a setting names."""
    return Settings.from_environment({"MYEVENTS_READ_REPLICA_URL": value}).read_replica_urls


def test_the_read_models_are_in_the_database_where_nothing_else_is_said() -> None:
    for said in ({}, {"MYEVENTS_READ_DATABASE_URL": ""}, {"MYEVENTS_READ_DATABASE_URL": Settings.database_url}):
        assert not Settings.from_environment(said).reads_apart
    assert Settings.from_environment({"MYEVENTS_READ_DATABASE_URL": "postgresql://reads/myevents"}).reads_apart


def test_replicas_are_several_hosts_of_one_address_or_several_addresses() -> None:
    assert replicas("") == ()
    assert replicas("postgresql://me@one:1,two/db?sslmode=require") == (
        "postgresql://me@one:1/db?sslmode=require",
        "postgresql://me@two/db?sslmode=require",
    )
    assert replicas("postgresql://one/a,postgresql://two,three/b") == (
        "postgresql://one/a",
        "postgresql://two/b",
        "postgresql://three/b",
    )
    assert replicas("postgresql://me@/db?host=/a/socket") == ("postgresql://me@/db?host=/a/socket",)


def test_a_replica_is_no_other_kind_of_server() -> None:
    with pytest.raises(SettingsError, match="MYEVENTS_READ_REPLICA_URL"):
        replicas("redis://one")


def test_no_address_of_a_database_shows() -> None:
    said = {f"MYEVENTS_{name}_URL": "postgresql://me:secret@one/a" for name in ("READ_DATABASE", "READ_REPLICA")}
    assert "secret" not in repr(Settings.from_environment(said))
