"""A location as its facts make it."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from schema.facts import Hall, HallAdded, HallChanged, HallRemoved, LocationChanged, LocationCreated, LocationDetails
from schema.facts import LocationFact as Fact


class LocationState(Struct, frozen=True, kw_only=True):
    """`version` 0 is a location that is not there yet."""

    version: int = 0
    details: LocationDetails | None = None
    halls: tuple[Hall, ...] = ()

    def hall(self, hall_id: str) -> Hall | None:
        """The hall of that id, None where the location has none such."""
        return next((hall for hall in self.halls if hall.hall_id == hall_id), None)


def evolve(state: LocationState, fact: Fact) -> LocationState:
    """The state after one more fact."""
    version = state.version + 1
    match fact:
        case LocationCreated():
            return LocationState(version=version, details=fact.details, halls=fact.halls)
        case LocationChanged():
            return msgspec.structs.replace(state, version=version, details=fact.details)
        case HallAdded():
            return msgspec.structs.replace(state, version=version, halls=(*state.halls, fact.hall))
        case HallChanged():
            halls = tuple(fact.hall if hall.hall_id == fact.hall.hall_id else hall for hall in state.halls)
            return msgspec.structs.replace(state, version=version, halls=halls)
        case HallRemoved():
            halls = tuple(hall for hall in state.halls if hall.hall_id != fact.hall_id)
            return msgspec.structs.replace(state, version=version, halls=halls)
