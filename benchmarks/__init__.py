"""Measurements. Each checks its result, and compares with a baseline in the same run."""
