"""What is asked, in tantivy's terms. Scores are constants, so that no statistics of this engine's decide."""

from __future__ import annotations

import tantivy
from tantivy import FieldType, Occur, Query

from myevents.search import weights
from myevents.search.embedded.documents import microseconds
from myevents.search.words import Asked, forgiven
from schema.event_filter import Circle, EventFilter
from schema.geography import degrees_around


def asking(schema: tantivy.Schema, asked: Asked, filtered: Query, *, forgiving: bool) -> Query:
    """Events that have all words (each in whatever field) and all phrases, and that the filter lets by."""
    parts: list[tuple[Occur, Query]] = [(Occur.Must, filtered)]
    for place, word in enumerate(asked.words, start=1):
        begun = asked.open_ended and place == len(asked.words)
        parts.append((Occur.Must, _word(schema, word, begun=begun, forgiving=forgiving)))
    parts += [(Occur.Must, _phrase(schema, phrase)) for phrase in asked.phrases]
    if asked.words:
        whole = Query.term_query(schema, "name_words", " ".join(asked.words))
        parts.append((Occur.Should, Query.const_score_query(whole, weights.WHOLE_NAME)))
    if len(asked.words) > 1:
        row = Query.phrase_query(schema, "name", list(asked.words))
        parts.append((Occur.Should, Query.const_score_query(row, weights.IN_A_ROW)))
    return Query.boolean_query(parts)


def filtering(schema: tantivy.Schema, where: EventFilter, names: list[str] | None) -> Query:
    """Events that the filter lets by, scored 0; of `near` only the box around the circle.

    `names` are the folded names that have `where.name` in them.
    """
    found = [_among(schema, "status", where.statuses)]
    for field, values in (
        ("id", where.ids),
        ("name_folded", names),
        ("topic", where.topics),
        ("country", where.country),
        ("city", where.city),
        ("location_id", None if where.location_id is None else [where.location_id]),
    ):
        if values is not None:
            found.append(_among(schema, field, values))
    if where.online is not None:
        found.append(Query.term_query(schema, "online", where.online))
    if where.starts_from is not None:
        found.append(_at_least(schema, "starts_at", microseconds(where.starts_from)))
    if where.starts_until is not None:
        until = microseconds(where.starts_until)
        found.append(Query.range_query(schema, "starts_at", FieldType.Integer, None, until, include_upper=False))
    if where.seats_available_at_least is not None:
        found.append(_at_least(schema, "seats_available", where.seats_available_at_least))
    if where.near is not None:
        found += _box(schema, where.near)
    return Query.const_score_query(Query.boolean_query([(Occur.Must, part) for part in found]), 0.0)


def naming(schema: tantivy.Schema, asked: Asked) -> Query:
    """Published events whose names have all words, the last perhaps only begun."""
    parts = [(Occur.Must, _among(schema, "status", ["PUBLISHED"]))]
    for word in asked.words[:-1]:
        parts.append((Occur.Must, Query.term_query(schema, "name", word)))
    parts.append((Occur.Must, begins(schema, "name", asked.words[-1])))
    return Query.boolean_query(parts)


def begins(schema: tantivy.Schema, field: str, text: str) -> Query:
    """Terms that begin with `text`."""
    return Query.fuzzy_term_query(schema, field, text, distance=0, prefix=True)


def _word(schema: tantivy.Schema, word: str, *, begun: bool, forgiving: bool) -> Query:
    choices: list[Query] = []
    for field, weight in weights.FIELDS.items():
        choices.append(Query.const_score_query(Query.term_query(schema, field, word), weight))
        if begun:
            choices.append(Query.const_score_query(begins(schema, field, word), weight * weights.BEGUN))
        if forgiving and field in weights.FORGIVING and (errors := forgiven(word)):
            near = Query.fuzzy_term_query(schema, field, word, distance=errors)
            choices.append(Query.const_score_query(near, weight * weights.MISSPELT))
    return Query.disjunction_max_query(choices)


def _phrase(schema: tantivy.Schema, phrase: tuple[str, ...]) -> Query:
    choices: list[Query] = []
    for field, weight in weights.FIELDS.items():
        single = Query.term_query(schema, field, phrase[0])
        found = Query.phrase_query(schema, field, list(phrase)) if len(phrase) > 1 else single
        choices.append(Query.const_score_query(found, weight * len(phrase)))
    return Query.disjunction_max_query(choices)


def _among(schema: tantivy.Schema, field: str, values: list[str]) -> Query:
    return Query.term_set_query(schema, field, values)


def _at_least(schema: tantivy.Schema, field: str, value: int) -> Query:
    return Query.range_query(schema, field, FieldType.Integer, value, None)


def _box(schema: tantivy.Schema, circle: Circle) -> list[Query]:
    south, north, west, east = degrees_around(circle)
    latitude = Query.range_query(schema, "latitude", FieldType.Float, south, north)
    if west <= -180 or east >= 180:
        return [latitude]
    return [latitude, Query.range_query(schema, "longitude", FieldType.Float, west, east)]
