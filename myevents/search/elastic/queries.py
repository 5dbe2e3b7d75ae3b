"""What is asked, in Elasticsearch's terms. Scores are constants, so that no statistics of this engine's decide."""

from __future__ import annotations

from typing import Any, Final

from myevents.search import weights
from myevents.search.elastic.documents import microseconds, pairs
from myevents.search.words import Asked, forgiven
from schema.event_filter import Circle, EventFilter
from schema.folding import fold
from schema.geography import EARTH_KM

Query = dict[str, Any]

PUBLISHED: Final[Query] = {"term": {"status": "PUBLISHED"}}
THEIR_EARTH_KM: Final = 6371.0087714
"""The mean radius that Elasticsearch measures distances with."""

_SLACK_KM: Final = 0.00001
"""Its points are up to half a centimetre from where they were put."""


def asking(asked: Asked, where: EventFilter, *, forgiving: bool) -> Query:
    """Events that have all words (each in whatever field) and all phrases, and that the filter lets by."""
    must = []
    for place, word in enumerate(asked.words, start=1):
        begun = asked.open_ended and place == len(asked.words)
        must.append(_word(word, begun=begun, forgiving=forgiving))
    must += [_phrase(phrase) for phrase in asked.phrases]
    more = []
    if asked.words:
        more.append(_scored({"term": {"name_words": " ".join(asked.words)}}, weights.WHOLE_NAME))
    if len(asked.words) > 1:
        more.append(_scored(_side_by_side("name", asked.words), weights.IN_A_ROW))
    return {"bool": {"filter": filtering(where), "must": must, "should": more}}


def filtering(where: EventFilter) -> list[Query]:
    """Events that the filter lets by."""
    found: list[Query] = [{"terms": {"status": where.statuses}}]
    for field, values in (
        ("id", where.ids),
        ("topic", where.topics),
        ("country", where.country),
        ("city", where.city),
        ("location_id", None if where.location_id is None else [where.location_id]),
    ):
        if values is not None:
            found.append({"terms": {field: values}})
    if where.name is not None and (piece := fold(where.name)):
        found.append(_named(piece))
    if where.online is not None:
        found.append({"term": {"online": where.online}})
    if where.starts_from is not None:
        found.append({"range": {"starts_at": {"gte": microseconds(where.starts_from)}}})
    if where.starts_until is not None:
        found.append({"range": {"starts_at": {"lt": microseconds(where.starts_until)}}})
    if where.seats_available_at_least is not None:
        found.append({"range": {"seats_available": {"gte": where.seats_available_at_least}}})
    if where.near is not None:
        found.append(_around(where.near))
    return found


def naming(asked: Asked) -> Query:
    """Published events whose names have all words, the last perhaps only begun."""
    parts: list[Query] = [{"term": {"name": word}} for word in asked.words[:-1]]
    return {"bool": {"filter": [PUBLISHED, *parts, begins("name", asked.words[-1])]}}


def begins(field: str, text: str) -> Query:
    """Terms that begin with `text`."""
    return {"prefix": {field: {"value": text}}}


def near_word(field: str, word: str) -> Query:
    """Terms at most as many typing errors away as are forgiven, all of them."""
    return {"fuzzy": {field: {"value": word, "fuzziness": forgiven(word), "rewrite": "constant_score"}}}


def any_of(queries: list[Query]) -> Query:
    """What one of the queries finds."""
    return {"bool": {"should": queries, "minimum_should_match": 1}}


def their_km(kilometres: float) -> float:
    """Kilometres on our sphere as those on Elasticsearch's, which is a little larger."""
    return kilometres * (THEIR_EARTH_KM / EARTH_KM)


def _word(word: str, *, begun: bool, forgiving: bool) -> Query:
    choices = []
    for field, weight in weights.FIELDS.items():
        choices.append(_scored({"term": {field: word}}, weight))
        if begun:
            choices.append(_scored(begins(field, word), weight * weights.BEGUN))
        if forgiving and field in weights.FORGIVING and forgiven(word):
            choices.append(_scored(near_word(field, word), weight * weights.MISSPELT))
    return {"dis_max": {"queries": choices}}


def _phrase(phrase: tuple[str, ...]) -> Query:
    found = ((_side_by_side(field, phrase), weight * len(phrase)) for field, weight in weights.FIELDS.items())
    return {"dis_max": {"queries": [_scored(query, weight) for query, weight in found]}}


def _side_by_side(field: str, phrase: tuple[str, ...]) -> Query:
    return {"match_phrase": {field: " ".join(phrase)}}


def _scored(query: Query, score: float) -> Query:
    return {"constant_score": {"filter": query, "boost": score}}


def _named(piece: str) -> Query:
    # A pattern could have too many states for the engine, and would look at every name.
    if len(piece) == 1:
        return begins("name_pairs", pairs(piece)[0])
    return {"match_phrase": {"name_pairs": " ".join(pairs(piece)[:-1])}}


def _around(circle: Circle) -> Query:
    centre = {"lat": circle.latitude, "lon": circle.longitude}
    return {"geo_distance": {"distance": f"{their_km(circle.radius_km) + _SLACK_KM!r}km", "point": centre}}
