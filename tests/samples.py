"""Facts of an event, a location and bookings, to fold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from projector import locations
from schema.facts import (
    BookingCancelled,
    EventCreated,
    EventDetails,
    Fact,
    Hall,
    Line,
    LocationCreated,
    LocationDetails,
    Money,
    RecordedFact,
    SeatsBooked,
    TicketType,
)
from schema.read_models import LocationRow
from tests.history import numbered

START = datetime(2027, 5, 1, 10, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
STANDARD = TicketType(
    ticket_type_id="typ_a", name="Standard", capacity=10, price=Money(amount=Decimal("9.50"), currency="EUR")
)
CHEAP = TicketType(ticket_type_id="typ_b", name="Cheap", capacity=5)
CREATED = EventCreated(
    details=EventDetails(name="Ångström", description="A talk", url="https://a.example", topics=("x", "y")),
    starts_at=START,
    ends_at=START + HOUR,
    time_zone="Europe/Amsterdam",
    location_id="loc_a",
    hall_id="hal_a",
    capacity=12,
    ticket_types=(STANDARD, CHEAP),
    organizer_id="org_a",
)
SMALL, LARGE = Hall(hall_id="hal_a", name="Small", capacity=20), Hall(hall_id="hal_b", name="Large", capacity=90)
HOUSE = LocationDetails(name="House", city="Delft", country="NL", latitude=52.0, longitude=4.4, open_time=9)


def booked(standard: int, cheap: int = 0, number: int = 1) -> SeatsBooked:
    """So many seats of both types."""
    lines = (Line(ticket_type_id="typ_a", seats=standard), Line(ticket_type_id="typ_b", seats=cheap))
    return SeatsBooked(booking_id=f"bkg_{number}", user_id="usr_a", lines=lines)


def freed(of: SeatsBooked) -> BookingCancelled:
    """The end of that booking."""
    return BookingCancelled(booking_id=of.booking_id, lines=of.lines)


def last(*facts: Fact, stream: str = "evt_a") -> RecordedFact:
    """The last of those facts, in its place after the others."""
    return numbered([(stream, fact) for fact in facts])[-1]


def location(*facts: Fact) -> LocationRow:
    """The row of `loc_a` with one hall after those facts."""
    row: LocationRow | None = None
    for recorded in numbered([("loc_a", fact) for fact in (LocationCreated(details=HOUSE, halls=(SMALL,)), *facts)]):
        row = locations.fold(row, recorded)
    assert row is not None
    return row
