"""The facts' JSON Schemas are written down; a fact that changes its shape must say so there."""

from __future__ import annotations

import jsonschema
import msgspec
import pytest

from schema import codec
from schema.facts import FACT_TYPES, BookingCancelled, Line, SeatsBooked
from schema.json_schemas import DIRECTORY, fact_schemas


def test_the_schemas_written_down_are_those_of_the_facts() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")} == fact_schemas()


def test_a_recorded_fact_fits_its_schema() -> None:
    lines = (Line(ticket_type_id="typ_1", seats=2),)
    for fact in (
        SeatsBooked(booking_id="bkg_1", user_id="u", lines=lines),
        BookingCancelled(booking_id="b", lines=lines),
    ):
        text = fact_schemas()[f"{codec.type_name(fact)}.1.json"]
        jsonschema.validate(msgspec.json.decode(codec.encode(fact)), msgspec.json.decode(text))
        assert codec.decode(codec.type_name(fact), 1, codec.encode(fact)) == fact


@pytest.mark.parametrize("name", [*FACT_TYPES, "Unheard"])
def test_a_fact_of_a_later_version_is_unreadable_rather_than_guessed(name: str) -> None:
    with pytest.raises(codec.UnknownFact):
        codec.decode(name, 99, b"{}")
