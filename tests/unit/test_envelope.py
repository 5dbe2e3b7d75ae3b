"""What travels is what was recorded."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from schema import codec
from schema.envelope import Envelope, MalformedEnvelope, opened, seal, unseal
from schema.facts import EventPublished, Metadata, RecordedFact, UnreadableFact

AT = datetime(2027, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def an_envelope(kind: str = "EventPublished", schema_version: int = 1) -> Envelope:
    """A sealed fact's content."""
    return Envelope(
        partition=3,
        seq=7,
        stream="evt_a",
        version=2,
        type=kind,
        schema_version=schema_version,
        recorded_at=AT,
        data=msgspec.Raw(codec.encode(EventPublished())),
        metadata=msgspec.Raw(codec.encode(Metadata(command_id="cmd_a", user_id="usr_a"))),
    )


def test_a_fact_arrives_as_it_was_recorded() -> None:
    arrived = opened(unseal(seal(an_envelope())))
    assert isinstance(arrived, RecordedFact)
    assert (arrived.position, arrived.stream_id, arrived.version, arrived.recorded_at) == ("3:7", "evt_a", 2, AT)
    assert arrived.fact == EventPublished()
    assert arrived.metadata.command_id == "cmd_a"


def test_others_can_read_what_travels() -> None:
    told = msgspec.json.decode(seal(an_envelope()))
    assert list(told) == [
        "partition", "seq", "stream", "version", "type", "schemaVersion", "recordedAt", "data", "metadata",
    ]  # fmt: skip
    assert told["recordedAt"] == "2027-01-02T03:04:05.678901Z"


@pytest.mark.parametrize(("kind", "schema_version"), [("EventVanished", 1), ("EventPublished", 99)])
def test_a_fact_of_tomorrow_is_passed_on_and_said_to_be_unreadable(kind: str, schema_version: int) -> None:
    arrived = opened(unseal(seal(an_envelope(kind, schema_version))))
    assert isinstance(arrived, UnreadableFact)
    assert (arrived.partition, arrived.seq, arrived.type) == (3, 7, kind)


@pytest.mark.parametrize("value", [b"", b"{}", b"[1]", b'{"partition": "x"}', b"\xff"])
def test_what_is_no_envelope_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        unseal(value)
