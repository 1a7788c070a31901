"""Exemplars: of which call or delivery a figure is, for who looks closer."""

from __future__ import annotations

# OpenMetrics lets an exemplar's names and values have 128 characters in all.
_LONGEST = 128


def exemplar(name: str, value: str) -> dict[str, str] | None:
    """The exemplar, or None where it is longer than it may be: ids of records that others wrote may be anything."""
    return {name: value} if len(name) + len(value) <= _LONGEST else None
