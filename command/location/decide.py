"""What becomes of a wish about a location. Pure: time and ids come in with the command."""

from __future__ import annotations

import msgspec

from command.location.commands import (
    AddHall,
    ChangeHall,
    ChangeLocation,
    CreateLocation,
    LocationCommand,
    LocationPatch,
    RemoveHall,
)
from command.location.state import LocationState
from myevents.errors import ErrorCode, Refused
from schema.facts import (
    Hall,
    HallAdded,
    HallChanged,
    HallRemoved,
    LocationChanged,
    LocationCreated,
    LocationDetails,
    LocationFact,
)

MOST_HALLS = 200
"""Halls a location may have, so that its state and its row stay small."""


def decide(state: LocationState, command: LocationCommand) -> list[LocationFact]:
    """The facts that `command` brings about, none where nothing changes; raises `Refused`."""
    if isinstance(command, CreateLocation):
        if state.details is not None:
            raise Refused(ErrorCode.CONFLICT, f"There is already a location {command.location_id}.")
        check_hours(command.details)
        return [LocationCreated(details=command.details, halls=command.halls)]
    if state.details is None:
        raise Refused(ErrorCode.NOT_FOUND, f"There is no location {command.location_id}.", ("locationId",))
    if command.expected_version is not None and command.expected_version != state.version:
        raise Refused(
            ErrorCode.VERSION_MISMATCH,
            f"The location is at version {state.version}, not {command.expected_version}: read it again.",
            ("expectedVersion",),
        )
    match command:
        case ChangeLocation():
            details = patched(state.details, command.patch)
            check_hours(details)
            return [LocationChanged(details=details)] if details != state.details else []
        case AddHall():
            if state.hall(command.hall.hall_id) is not None:
                raise Refused(ErrorCode.CONFLICT, f"There is already a hall {command.hall.hall_id}.", ("hallId",))
            if len(state.halls) >= MOST_HALLS:
                raise Refused(ErrorCode.CONFLICT, f"A location has at most {MOST_HALLS} halls.", ("input",))
            return [HallAdded(hall=command.hall)]
        case ChangeHall():
            return [HallChanged(hall=command.hall)] if existing(state, command.hall.hall_id) != command.hall else []
        case RemoveHall():
            existing(state, command.hall_id)
            return [HallRemoved(hall_id=command.hall_id)]


def existing(state: LocationState, hall_id: str) -> Hall:
    """The hall of that id; raises `Refused` where the location has none such."""
    hall = state.hall(hall_id)
    if hall is None:
        raise Refused(ErrorCode.NOT_FOUND, f"The location has no hall {hall_id}.", ("hallId",))
    return hall


def patched(details: LocationDetails, patch: LocationPatch) -> LocationDetails:
    """The details with what the patch sets."""
    changes = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not msgspec.UNSET}
    return msgspec.structs.replace(details, **changes)


def check_hours(details: LocationDetails) -> None:
    """Raise `Refused` where a location closes before it opens, or has half a place on the map."""
    if details.open_time is not None and details.close_time is not None and details.open_time >= details.close_time:
        raise Refused(ErrorCode.INVALID_INPUT, "closeTime must be after openTime.", ("input", "closeTime"))
    if (details.latitude is None) != (details.longitude is None):
        raise Refused(ErrorCode.INVALID_INPUT, "latitude and longitude go together.", ("input", "longitude"))
