"""Distances on the earth, as one sphere."""

from __future__ import annotations

from math import asin, cos, degrees, radians, sin, sqrt
from typing import Final

from schema.event_filter import Circle

EARTH_KM: Final = 6371.0
"""Its mean radius."""

KM_PER_DEGREE: Final = 111.195
"""Of latitude."""


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Kilometres between two points in degrees, by the haversine formula."""
    south, north = radians(latitude), radians(other_latitude)
    half = sin((north - south) / 2) ** 2
    half += cos(south) * cos(north) * sin(radians(other_longitude - longitude) / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(half)))


def degrees_around(circle: Circle) -> tuple[float, float, float, float]:
    """South, north, west and east of a box that holds the circle; beyond +-180 where it crosses that meridian."""
    tall = circle.radius_km / KM_PER_DEGREE * 1.001
    south, north = circle.latitude - tall, circle.latitude + tall
    if south <= -90 or north >= 90:
        return south, north, -360.0, 360.0
    wide = degrees(asin(min(1.0, sin(circle.radius_km / EARTH_KM) / cos(radians(circle.latitude))))) * 1.001
    return south, north, circle.longitude - wide, circle.longitude + wide
