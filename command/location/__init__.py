"""Locations and their halls."""
