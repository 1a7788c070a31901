"""Knows what is outstanding of each call where a call's events are to be attempted in order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class Position(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class Call(NamedTuple):
    """A call at an endpoint."""

    endpoint: str
    call_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """A delivery's place in its call, and until when it waits."""

    call: Call
    sequence: int
    due_at: datetime | None = None


class Order:
    """The records that are outstanding: written, and not yet delivered, given up or written elsewhere.

    A delivery is known by where its record lies, not by its id: after a crash there may be two of one, and what is done
    with one of them says nothing of the other.
    """

    def __init__(self) -> None:
        self._places: dict[Position, Place] = {}
        self._calls: dict[Call, set[Position]] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many records are outstanding."""
        return len(self._places)

    def count(self, endpoint: str) -> int:
        """How many records are outstanding at an endpoint."""
        return self._counts[endpoint]

    def hold(self, at: Position, place: Place) -> None:
        """The record at this position is outstanding; it may be known already."""
        if at not in self._places:
            self._calls.setdefault(place.call, set()).add(at)
            self._counts[place.call.endpoint] += 1
        self._places[at] = place

    def place(self, at: Position) -> Place | None:
        """The place of the record at this position; None if it is not outstanding."""
        return self._places.get(at)

    def release(self, at: Position) -> Call | None:
        """The record at this position is no longer outstanding: its call, None if it was not known."""
        place = self._places.pop(at, None)
        if place is None:
            return None
        left = self._calls[place.call]
        left.discard(at)
        if not left:
            del self._calls[place.call]
        self._counts[place.call.endpoint] -= 1
        if not self._counts[place.call.endpoint]:
            del self._counts[place.call.endpoint]
        return place.call

    def forget(self, condition: Callable[[Position], bool]) -> None:
        """Release all for which the condition holds."""
        for at in [at for at in self._places if condition(at)]:
            self.release(at)

    def drop(self, endpoint: str) -> None:
        """Release all of an endpoint."""
        for at in [at for at, place in self._places.items() if place.call.endpoint == endpoint]:
            self.release(at)

    def earlier(self, at: Position) -> list[Position]:
        """What is outstanding of the call before the record at this position, which must be outstanding itself."""
        place = self._places[at]
        return [other for other in self._calls[place.call] if self._places[other].sequence < place.sequence]

    def blocked_until(self, at: Position) -> datetime | None:
        """Until when something earlier of the call waits at least; None where nothing does that is known to wait."""
        return max((due for other in self.earlier(at) if (due := self._places[other].due_at)), default=None)
