"""A fact as it travels: JSON with all that the store has of it, so that a reader of Kafka needs nothing else."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from schema import codec
from schema.facts import RecordedFact, UnreadableFact


class Envelope(Struct, frozen=True, kw_only=True, rename="camel"):
    """A row of the log. `data` and `metadata` are JSON that is passed on as it is, whatever version wrote it."""

    partition: int
    seq: int
    stream: str
    version: int
    type: str
    schema_version: int
    recorded_at: datetime
    data: msgspec.Raw
    metadata: msgspec.Raw


class MalformedEnvelope(ValueError):
    """Bytes that are no envelope."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


def seal(envelope: Envelope) -> bytes:
    """The envelope as JSON."""
    return _encode(envelope)


def unseal(value: bytes) -> Envelope:
    """The envelope that `value` is; raises `MalformedEnvelope`."""
    try:
        return _decode(value)
    except msgspec.MsgspecError as error:
        raise MalformedEnvelope(str(error)) from error


def opened(envelope: Envelope) -> RecordedFact | UnreadableFact:
    """The fact inside, or why this code cannot read it."""
    try:
        return RecordedFact(
            partition=envelope.partition,
            seq=envelope.seq,
            stream_id=envelope.stream,
            version=envelope.version,
            fact=codec.decode(envelope.type, envelope.schema_version, bytes(envelope.data)),
            metadata=codec.decode_metadata(bytes(envelope.metadata)),
            recorded_at=envelope.recorded_at,
        )
    except codec.UnknownFact as error:
        return UnreadableFact(
            partition=envelope.partition,
            seq=envelope.seq,
            stream_id=envelope.stream,
            version=envelope.version,
            type=envelope.type,
            reason=str(error),
        )
