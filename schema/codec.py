"""Facts to JSON and back. Old versions are upcast on reading, step by step, to the newest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from schema.facts import FACT_TYPES, SCHEMA_VERSIONS, Fact, Metadata


class UnknownFact(ValueError):
    """A fact whose type or version this code does not know, or whose data does not fit."""


# (type, version) -> how its data becomes that of version + 1.
UPCASTERS: Final[Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]] = {}

_encoder = msgspec.json.Encoder(decimal_format="string")
_decoders: Final = {name: msgspec.json.Decoder(kind) for name, kind in FACT_TYPES.items()}
_metadata_decoder: Final = msgspec.json.Decoder(Metadata)


def type_name(fact: Fact) -> str:
    """The name under which the log keeps `fact`."""
    return type(fact).__name__


def encode(value: Fact | Metadata) -> bytes:
    """JSON of a fact's data or metadata, in camel case; decimals as strings, times in RFC 3339."""
    return _encoder.encode(value)


def decode(name: str, schema_version: int, data: str | bytes) -> Fact:
    """Read a fact's data; raises `UnknownFact` with the reason where that cannot be done."""
    newest = SCHEMA_VERSIONS.get(name)
    if newest is None:
        raise UnknownFact(f"no fact is called {name!r}")
    try:
        if schema_version == newest:
            return _decoders[name].decode(data)
        return msgspec.convert(_upcast(name, schema_version, newest, msgspec.json.decode(data)), FACT_TYPES[name])
    except msgspec.MsgspecError as error:
        raise UnknownFact(f"{name} version {schema_version}: {error}") from error


def decode_metadata(data: str | bytes) -> Metadata:
    """Read a fact's metadata; raises `UnknownFact` where it is malformed."""
    try:
        return _metadata_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise UnknownFact(f"metadata: {error}") from error


def _upcast(name: str, version: int, newest: int, data: dict[str, Any]) -> dict[str, Any]:
    while version < newest:
        step = UPCASTERS.get((name, version))
        if step is None:
            raise UnknownFact(f"{name} version {version} has no upcaster")
        data, version = step(data), version + 1
    if version > newest:
        raise UnknownFact(f"{name} version {version} is newer than this code, which knows {newest}")
    return data
