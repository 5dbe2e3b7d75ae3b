"""Events to search in: the sample's conferences, and a plain search over all of them that needs no index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
from rapidfuzz.distance import OSA

from myevents.search import weights
from myevents.search.port import SearchIndex
from myevents.search.text import searched
from myevents.search.words import asked, forgiven, indexed, words
from schema.folding import fold
from schema.ids import derived_id
from schema.read_models import EventRow, LocationRow

CONFERENCES = Path(__file__).parents[1] / "data" / "conferences.jsonl"
AT = datetime(2020, 1, 1, tzinfo=UTC)
PLACES = {"London": (51.507, -0.128), "Berlin": (52.52, 13.405), "Amsterdam": (52.373, 4.892), "Tokyo": (35.68, 139.69)}


class Line(msgspec.Struct):
    """What of a conference is searched."""

    name: str
    start: str = msgspec.field(name="startDate")
    city: str | None = None
    country: str | None = None
    topics: tuple[str, ...] = ()


def an_event_row(name: str, number: int = 0, **changes: object) -> EventRow:
    """An online event of that name, but for `changes`."""
    starts = AT + timedelta(days=number)
    row = EventRow(
        id=derived_id("evt", starts, name, str(number)),
        name=name,
        name_folded=fold(name),
        description=None,
        url=None,
        topics=(),
        seats_per_person=None,
        status="PUBLISHED",
        starts_at=starts,
        ends_at=starts + timedelta(hours=2),
        time_zone=None,
        online=True,
        capacity=100,
        seats_booked=0,
        seats_available=100,
        ticket_types=(),
        organizer_id=None,
        location_id=None,
        hall_id=None,
        location=None,
        city=None,
        country=None,
        latitude=None,
        longitude=None,
        created_at=AT,
        updated_at=AT,
        version=1,
    )
    return msgspec.structs.replace(row, **changes)


@cache
def conferences() -> tuple[EventRow, ...]:
    """The sample's conferences, each city a location."""
    lines = [msgspec.json.decode(line, type=Line) for line in CONFERENCES.read_bytes().splitlines()]
    return tuple(_conference(number, line) for number, line in enumerate(lines))


def _conference(number: int, line: Line) -> EventRow:
    starts = datetime.fromisoformat(line.start[:10]).replace(tzinfo=UTC)
    latitude, longitude = PLACES.get(line.city or "", (None, None))
    location = None
    if line.city and line.country:
        location = LocationRow(
            id=derived_id("loc", AT, line.city, line.country),
            name=line.city,
            city=line.city,
            country=line.country,
            latitude=latitude,
            longitude=longitude,
            version=1,
        )
    return an_event_row(
        line.name,
        number,
        topics=line.topics,
        starts_at=starts,
        ends_at=starts,
        online=location is None,
        seats_available=number % 100,
        location=location,
        location_id=location.id if location else None,
        city=location.city if location else None,
        country=location.country if location else None,
        latitude=location.latitude if location else None,
        longitude=location.longitude if location else None,
    )


async def all_events(index: SearchIndex) -> dict[str, EventRow]:
    """Every event of an index, by id, in the order in which it gives them."""
    return {row.id: row async for rows in index.in_order() for row in rows}


def plainly_found(rows: Sequence[EventRow], text: str) -> list[tuple[float, str]]:
    """Score and id of every event found, best first, by looking at each word of each event."""
    for forgiving in (False, True):
        found = [
            (-score, row.starts_at, row.id)
            for row in rows
            if row.status == "PUBLISHED" and (score := _score(row, text, forgiving)) is not None
        ]
        if found:
            return [(-score, key) for score, _, key in sorted(found)]
    return []


def _score(row: EventRow, text: str, forgiving: bool) -> float | None:
    wanted, fields = asked(text), _words_of(row)
    total = 0.0
    for place, word in enumerate(wanted.words, start=1):
        begun = wanted.open_ended and place == len(wanted.words)
        best = max(
            weights.FIELDS[field] * _share(word, have, begun, forgiving and field in weights.FORGIVING)
            for field, have in fields.items()
        )
        if not best:
            return None
        total += best
    for phrase in wanted.phrases:
        needle = f" {' '.join(phrase)} "
        best = max(
            weights.FIELDS[field] * len(phrase) * (needle in f" {' '.join(have)} ") for field, have in fields.items()
        )
        if not best:
            return None
        total += best
    if wanted.words and words(row.name) == list(wanted.words):
        total += weights.WHOLE_NAME
    if len(wanted.words) > 1 and f" {' '.join(wanted.words)} " in f" {' '.join(fields['name'])} ":
        total += weights.IN_A_ROW
    return total


@cache
def _words_of(row: EventRow) -> dict[str, list[str]]:
    return {field: indexed(text).split() for field, text in searched(row).items()}


def _share(word: str, have: list[str], begun: bool, forgiving: bool) -> float:
    if word in have:
        return 1.0
    if begun and any(known.startswith(word) for known in have):
        return weights.BEGUN
    errors = forgiven(word)
    if forgiving and errors and any(OSA.distance(word, known, score_cutoff=errors) <= errors for known in have):
        return weights.MISSPELT
    return 0.0
