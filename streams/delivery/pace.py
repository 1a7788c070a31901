"""Spaces the attempts at an endpoint so that its rate is never exceeded, and books places for those that wait."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """Attempts at an endpoint are at least `1 / rate` seconds apart: no second sees more than `rate` of them and one.

    Nothing is saved up in quiet times: a receiver that names a rate has none of the minute before to give back.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        """Take the rate (attempts per second) and a clock (seconds) that only goes forward.

        Whoever had the endpoint before may have used it just now, so the first attempt waits as well.
        """
        self.spacing = 1 / rate
        self._clock = clock
        self._next = clock() + self.spacing
        self._booked = self._next

    def left(self) -> float:
        """Seconds until an attempt may begin; 0 or less: now."""
        return self._next - self._clock()

    @property
    def next_at(self) -> float:
        """The clock's time from which an attempt may begin."""
        return self._next

    def used(self) -> None:
        """An attempt begins now, or another worker may have made one until now."""
        self._next = self._clock() + self.spacing
        self._booked = max(self._booked, self._next)

    def backlog(self) -> float:
        """Seconds until all those that booked a place have had theirs; 0 or less: nobody waits."""
        return self._booked - self._next

    def book(self) -> float:
        """Give a place behind all that wait: in how many seconds it is.

        It is no reservation: who comes then may still have to wait. A restart forgets the places, and those that come
        at once then book anew.
        """
        now = self._clock()
        self._booked = max(self._booked, self._next, now) + self.spacing
        return self._booked - now
