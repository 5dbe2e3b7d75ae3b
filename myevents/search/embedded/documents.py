"""How an event stands in the tantivy index: words to find, values to filter and sort by, and the row itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import tantivy

from myevents.search.text import searched
from myevents.search.text_cache import indexed_once
from myevents.search.weights import FIELDS
from myevents.search.words import words
from schema.ids import uuid_of
from schema.read_models import EventRow, LocationRow

VERSION: Final = 1
"""Of the fields below; an index of another version is left alone, and a new one is filled."""

CHECKPOINTS: Final = "checkpoints"
"""The id of the document that holds them: they move in the commit that moves the events."""

WORDS: Final = "words"
"""The tokenizer: words come ready, with spaces between."""

FACETS: Final = {"TOPIC": "topic", "COUNTRY": "country", "CITY": "city", "MONTH": "month"}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOW: Final = (1 << 64) - 1


def make_schema() -> tantivy.Schema:
    """The fields of the index."""
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("row", stored=True)
    for name in FIELDS:
        builder.add_text_field(name, tokenizer_name=WORDS)
    for name in ("id", "kind", "status", "location_id", "name_folded"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in ("name_words", *FACETS.values()):
        builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")
    for name in ("starts_at", "seats_available"):
        builder.add_integer_field(name, indexed=True, fast=True)
    for name in ("id_high", "id_low"):
        builder.add_unsigned_field(name, fast=True)
    for name in ("latitude", "longitude"):
        builder.add_float_field(name, indexed=True, fast=True)
    builder.add_boolean_field("online", indexed=True)
    return builder.build()


def event_document(row: EventRow) -> tantivy.Document:
    """The document of an event."""
    document = _document(row.id, "event", msgspec.json.encode(row))
    for field, text in searched(row).items():
        document.add_text(field, indexed_once(text))
    document.add_text("status", row.status)
    document.add_text("name_folded", row.name_folded)
    document.add_text("name_words", " ".join(words(row.name)))
    for topic in dict.fromkeys(row.topics):
        document.add_text("topic", topic)
    for name, value in (("country", row.country), ("city", row.city), ("location_id", row.location_id)):
        if value is not None:
            document.add_text(name, value)
    document.add_text("month", row.starts_at.astimezone(UTC).strftime("%Y-%m"))
    document.add_integer("starts_at", microseconds(row.starts_at))
    document.add_integer("seats_available", row.seats_available)
    high, low = id_numbers(row.id)
    document.add_unsigned("id_high", high)
    document.add_unsigned("id_low", low)
    if row.latitude is not None and row.longitude is not None:
        document.add_float("latitude", row.latitude)
        document.add_float("longitude", row.longitude)
    document.add_boolean("online", row.online)
    return document


def location_document(row: LocationRow) -> tantivy.Document:
    """The document of a location: kept to place events in, found by nobody."""
    return _document(row.id, "location", msgspec.json.encode(row))


def checkpoints_document(checkpoints: dict[int, int]) -> tantivy.Document:
    """The document of the checkpoints."""
    return _document(CHECKPOINTS, "checkpoints", msgspec.json.encode(checkpoints))


def microseconds(time: datetime) -> int:
    """Unix time in microseconds, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def id_numbers(event_id: str) -> tuple[int, int]:
    """An id as two numbers that sort as it does."""
    value = uuid_of(event_id).int
    return value >> 64, value & _LOW


def _document(key: str, kind: str, row: bytes) -> tantivy.Document:
    document = tantivy.Document()
    document.add_text("id", key)
    document.add_text("kind", kind)
    document.add_bytes("row", row)
    return document
