"""What callers may send at its extremes: the longest texts, the first and last times, the largest numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from command.event.times import FIRST_YEAR, LAST_YEAR, LONGEST_EVENT_DAYS
from command.inputs import MOST_SEATS

_LETTERS = st.one_of(
    st.characters(exclude_categories=("Cs", "Cc")),
    # Marks, letters that folding makes long or short, what changes direction, and the last of all code points.
    st.sampled_from("\ufdfa\ufdfb\u3316\u0130ß\u0301\u202e\u2028\u200d\ufeff\ufffd\uffff\U0010ffff\U0001f468<&\"'\\%_"),
)


def texts(most: int, least: int = 1) -> st.SearchStrategy[str]:
    """Texts of up to `most` characters, often as long as they may be."""
    # Half of the characters, twice: as many random ones as there may be would be all that is generated.
    long = st.text(_LETTERS, min_size=8, max_size=min(most, 40)).map(lambda part: (part * most)[:most])
    kept = st.one_of(st.text(_LETTERS, min_size=max(least, 1), max_size=min(most, 40)), long)
    return kept.filter(lambda text: bool(text.strip()))


def _or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


FIRST = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
LAST = datetime(LAST_YEAR, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
_LONGEST = timedelta(days=LONGEST_EVENT_DAYS)
_LENGTHS = st.sampled_from([timedelta(microseconds=1), timedelta(seconds=1), timedelta(hours=2), _LONGEST])
_MOMENTS = st.one_of(
    st.sampled_from([FIRST, LAST - _LONGEST, datetime(1970, 1, 1, tzinfo=UTC)]),
    st.datetimes(FIRST.replace(tzinfo=None), (LAST - _LONGEST).replace(tzinfo=None), timezones=st.just(UTC)),
)
_BEYOND = st.sampled_from([datetime.min.replace(tzinfo=UTC), LAST, datetime.max.replace(tzinfo=UTC) - _LONGEST])
"""Refused, and nothing else."""


def _written(moment: datetime, length: timedelta, offset: str) -> tuple[str, str]:
    starts_at, ends_at = (each.isoformat().replace("+00:00", offset) for each in (moment, moment + length))
    return starts_at, ends_at


_OFFSETS = st.sampled_from(["Z", "Z", "Z", "+23:59", "-23:59"])
PERIODS = st.one_of(
    *[st.builds(_written, _MOMENTS, _LENGTHS, _OFFSETS)] * 7, st.builds(_written, _BEYOND, _LENGTHS, _OFFSETS)
)

SEATS = st.one_of(st.sampled_from([1, 10_000, MOST_SEATS]), st.integers(1, MOST_SEATS))
_HALL = st.fixed_dictionaries({"name": texts(200), "capacity": SEATS, "location": _or_none(texts(200))})
_POINTS = st.sampled_from([(None, None), (-90.0, -180.0), (90.0, 180.0), (5e-324, 1e-300), (-0.0, 2 / 3)])
_HOURS = st.sampled_from([(None, None), (0, 24), (0, 1), (23, 24), (None, 24)])
_PLACES = st.builds(
    lambda address, city, point, hours: {
        "address": address,
        "city": city,
        "latitude": point[0],
        "longitude": point[1],
        "openTime": hours[0],
        "closeTime": hours[1],
    },
    _or_none(texts(200)),
    _or_none(texts(200)),
    _POINTS,
    _HOURS,
)
HALLS = _HALL
_NAMES = st.fixed_dictionaries({"name": texts(200), "country": texts(200)})
LOCATIONS = st.builds(
    lambda names, place, halls: names | place | {"halls": halls},
    _NAMES,
    _PLACES,
    st.lists(_HALL, min_size=1, max_size=3),
)
LOCATION_PATCHES = st.one_of(_NAMES, _PLACES)

_MONEY = st.fixed_dictionaries(
    {"amount": st.sampled_from(["0", "0.0001", "999999999.9999", "1.10"]), "currency": st.sampled_from(["EUR", "ZZZ"])}
)
_SALES = st.one_of(st.just((None, None)), PERIODS, PERIODS.map(lambda sale: (sale[0], None)))
_TICKET_TYPE = st.builds(
    lambda name, price, sale: {"name": name, "price": price, "salesStartAt": sale[0], "salesEndAt": sale[1]},
    texts(200),
    _or_none(_MONEY),
    _SALES,
)
_DETAILS = {
    "name": texts(200),
    "description": _or_none(st.one_of(texts(10_000), st.just("a\r\n\tb"))),
    "url": _or_none(texts(1990).map(lambda text: "http://" + "".join(text.split())[:1990])),
    "topics": st.lists(texts(100), max_size=50),
    "seatsPerPerson": st.sampled_from([None, 1, 10_000]),
}
EVENTS = st.builds(
    lambda period, fields, seats, kinds: (
        fields
        | {"startsAt": period[0], "endsAt": period[1], "capacity": seats}
        | {"ticketTypes": [kind | {"capacity": seats} for kind in kinds]}
    ),
    PERIODS,
    st.fixed_dictionaries(
        {
            **_DETAILS,
            "timeZone": st.sampled_from([None, "Asia/Kathmandu", "Europe/Amsterdam"]),
            "publish": st.sampled_from([True, True, False]),
        }
    ),
    SEATS,
    st.lists(_TICKET_TYPE, max_size=1),
)
EVENT_PATCHES = st.fixed_dictionaries({}, optional=_DETAILS)
BOOKINGS = st.sampled_from([1, 9_999, 10_000])
REASONS = _or_none(texts(200))
