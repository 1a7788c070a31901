"""Keeps entries until their time has come, by the wall clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Seconds; the wall clock may be set, so it is looked at so often at least.
_LOOK = 1.0


class Waiting(Generic[Item]):
    """Items with a time each, given back when it has come. Its owner bounds how many there are."""

    def __init__(self, clock: Callable[[], datetime], ring: Callable[[Item], None]) -> None:
        """Take the wall clock, and what is done with an item whose time has come; it must not raise."""
        self._clock = clock
        self._ring = ring
        self._items: list[tuple[datetime, int, Item]] = []
        self._order = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None

    def add(self, at: datetime, item: Item) -> None:
        """Keep an item until `at`; must be called within the running loop."""
        heapq.heappush(self._items, (at, next(self._order), item))
        if self._items[0][2] is item:
            self._set_alarm()

    def withdraw(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Give back the items for which the condition holds."""
        items = [one[2] for one in self._items if condition(one[2])]
        self._items = [one for one in self._items if not condition(one[2])]
        heapq.heapify(self._items)
        self._set_alarm()
        return items

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._items:
            wait = min(max((self._items[0][0] - self._clock()).total_seconds(), 0.0), _LOOK)
            self._alarm = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        self._alarm = None
        now = self._clock()
        while self._items and self._items[0][0] <= now:
            self._ring(heapq.heappop(self._items)[2])
        self._set_alarm()
