"""What can be asked of a location."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from command.commands import Command
from schema.facts import Hall, LocationDetails


class LocationPatch(Struct, frozen=True, kw_only=True):
    """New values of some details; what is unset stays."""

    name: str | UnsetType = UNSET
    address: str | UnsetType | None = UNSET
    city: str | UnsetType | None = UNSET
    country: str | UnsetType = UNSET
    latitude: float | UnsetType | None = UNSET
    longitude: float | UnsetType | None = UNSET
    open_time: int | UnsetType | None = UNSET
    close_time: int | UnsetType | None = UNSET


class CreateLocation(Command, frozen=True, kw_only=True):
    location_id: str
    details: LocationDetails
    halls: tuple[Hall, ...] = ()


class ChangeLocation(Command, frozen=True, kw_only=True):
    location_id: str
    patch: LocationPatch


class AddHall(Command, frozen=True, kw_only=True):
    location_id: str
    hall: Hall


class ChangeHall(Command, frozen=True, kw_only=True):
    """`hall` is what the hall becomes, all of it."""

    location_id: str
    hall: Hall


class RemoveHall(Command, frozen=True, kw_only=True):
    location_id: str
    hall_id: str


LocationCommand = CreateLocation | ChangeLocation | AddHall | ChangeHall | RemoveHall
