"""What is told of bookings: bounded, whatever is booked."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry

from myevents.telemetry.commands import Bookings, CommandMetrics


def registry_of(bookings: Bookings) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(bookings)
    return registry


def test_the_events_beyond_the_bound_are_counted_together_and_none_is_lost() -> None:
    bookings = Bookings(events=3)
    registry = registry_of(bookings)
    for number in range(10):
        for _ in range(2):
            bookings.add({f"evt_{number}": Counter({1: 5})}, lambda event_id: f"Name of {event_id}")
    samples = {
        (sample.labels["eventID"], sample.labels["eventName"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "myevents_bookings_count"
    }
    own = {(f"evt_{number}", f"Name of evt_{number}"): 10.0 for number in range(3)}
    assert samples == own | {("other", "other"): 70.0}


def test_an_event_that_is_renamed_stays_one_series() -> None:
    bookings = Bookings()
    registry = registry_of(bookings)
    for name in ("Old", "New"):
        bookings.add({"evt_1": Counter({1: 1})}, lambda _, name=name: name)  # type: ignore[misc]
    labels = {"eventID": "evt_1", "eventName": "Old"}
    assert registry.get_sample_value("myevents_bookings_count", labels) == 2


def test_seats_of_a_booking_fall_into_the_bucket_that_they_do_not_exceed() -> None:
    bookings = Bookings()
    registry = registry_of(bookings)
    bookings.add({"evt_1": Counter({1: 3, 7: 1}), "evt_2": Counter({100: 1, 101: 1})}, str)

    def at_most(seats: str) -> float | None:
        return registry.get_sample_value("myevents_seats_per_booking_bucket", {"le": seats})

    assert [at_most(seats) for seats in ("1.0", "6.0", "8.0", "100.0", "+Inf")] == [3, 3, 4, 5, 6]
    assert registry.get_sample_value("myevents_seats_per_booking_count") == 6
    assert registry.get_sample_value("myevents_seats_per_booking_sum") == 3 + 7 + 100 + 101


def test_two_processes_in_one_do_not_share_their_counts() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    one, other = (CommandMetrics(registry) for registry in registries)
    one.ended([("BookSeats", "accepted")] * 3)
    other.ended([("BookSeats", "SOLD_OUT")])
    labels = {"command": "BookSeats", "outcome": "accepted"}
    assert [registry.get_sample_value("myevents_commands_total", labels) for registry in registries] == [3, None]
