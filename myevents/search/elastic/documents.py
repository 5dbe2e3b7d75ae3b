"""How an event stands in the index: words to find, values to filter and sort by, and the row itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import msgspec
from msgspec import Struct

from myevents.search.text import searched
from myevents.search.text_cache import indexed_once
from myevents.search.weights import FIELDS, FORGIVING
from myevents.search.words import words
from schema.read_models import EventRow, LocationRow

VERSION: Final = 1
"""Of the fields below; an index of another version is left alone, and a new one is filled."""

CHECKPOINTS: Final = "checkpoints"
"""The id of the document that holds them."""

FACETS: Final = {"TOPIC": "topic", "COUNTRY": "country", "CITY": "city", "MONTH": "month"}
SPELLED: Final = {field: f"{field}_spelled" for field in FIELDS if field in FORGIVING}
"""Where each word of a field stands by itself, to be counted."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOCATION_BITS: Final = 24

_KEYWORD: Final = {"type": "keyword"}
_TEXT: Final = {
    "type": "text",
    "analyzer": "whitespace",
    "norms": False,
    "index_prefixes": {"min_chars": 1, "max_chars": 5},
}
_PAIRS: Final = {"type": "text", "analyzer": "whitespace", "norms": False}
_FOUND_BY: Final = ("id", "kind", "status", "location_id", "name_words", *FACETS.values(), *SPELLED.values())

MAPPING: Final[dict[str, Any]] = {
    "dynamic": "strict",
    # Only the row is read again: what it is found by need not be kept a second time.
    "_source": {"includes": ["row"]},
    "properties": {
        "row": {"type": "object", "enabled": False},
        **dict.fromkeys(FIELDS, _TEXT),
        **dict.fromkeys(_FOUND_BY, _KEYWORD),
        "name_pairs": _PAIRS,
        "starts_at": {"type": "long"},
        "seats_available": {"type": "long"},
        "point": {"type": "geo_point"},
        "online": {"type": "boolean"},
    },
}

SERVING: Final[dict[str, Any]] = {
    "auto_expand_replicas": "0-1",
    "refresh_interval": "1s",
    "translog.durability": "request",
}
FILLING: Final[dict[str, Any]] = {
    "auto_expand_replicas": "false",
    "number_of_replicas": 0,
    "refresh_interval": "-1",
    "translog.durability": "async",
}
"""Of an index that serves nobody yet: what is lost in a crash is filled in again, for its checkpoints are lost too."""


class Put(Struct, frozen=True):
    """A document to put in, unless a later one of its id is there."""

    id: str
    version: int
    document: dict[str, Any]


def puts(events: Iterator[EventRow], locations: Iterator[LocationRow]) -> Iterator[Put]:
    """The documents of rows, each made when it is asked for."""
    for row in events:
        yield Put(row.id, version_of(row), event_document(row))
    for place in locations:
        # Kept to place events in, found by nobody.
        yield Put(place.id, place.version, {"id": place.id, "kind": "location", "row": place})


def version_of(row: EventRow) -> int:
    """A number that grows with every fact of the event, and between two of them with every fact of its location."""
    return (row.version << _LOCATION_BITS) + (row.location.version if row.location else 0)


def event_document(row: EventRow) -> dict[str, Any]:
    """The document of an event."""
    texts = {field: indexed_once(text) for field, text in searched(row).items()}
    document: dict[str, Any] = {
        "id": row.id,
        "kind": "event",
        "row": row,
        **texts,
        **{spelled: sorted(set(texts[field].split())) for field, spelled in SPELLED.items()},
        "status": row.status,
        "name_words": " ".join(words(row.name)),
        "name_pairs": " ".join(pairs(row.name_folded)),
        "topic": list(dict.fromkeys(row.topics)),
        "country": row.country,
        "city": row.city,
        "location_id": row.location_id,
        "month": row.starts_at.astimezone(UTC).strftime("%Y-%m"),
        "starts_at": microseconds(row.starts_at),
        "seats_available": row.seats_available,
        "online": row.online,
    }
    if row.latitude is not None and row.longitude is not None:
        document["point"] = {"lat": row.latitude, "lon": row.longitude}
    return document


def pairs(text: str) -> list[str]:
    """Each letter with the one after it, in digits: a piece of the text is a phrase of these, whatever is in it."""
    found = [f"{ord(one):x}.{ord(other):x}" for one, other in pairwise(text)]
    return [*found, f"{ord(text[-1]):x}."] if text else found


def microseconds(time: datetime) -> int:
    """Unix time in microseconds, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def encoded(value: object) -> bytes:
    """JSON, rows included."""
    return msgspec.json.encode(value)
