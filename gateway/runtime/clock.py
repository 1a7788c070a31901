"""Notices that the system's clock was set: times by it from before and after then don't go together."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.contract.times import Ms

_MS = 1_000_000
# What rounding and reading two clocks one after another may make of nothing. Smaller steps are none: bounds allow for
# more, and time that is slewed runs faster or slower in both clocks.
_LEAST = 10 * _MS
# A reading that was interrupted is tried again, so many times.
_TRIES = 5


class ClockSteps:
    """How far the system's clock was set, since this was last asked for.

    Found by a clock that nobody sets and that goes on while the machine sleeps, or is made to wait.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] | None = None) -> None:
        """`wall` is the clock that may be set, `steady` the other one, both in ns."""
        self._wall = wall
        self._steady = steady or _steady
        self._ahead = sum(self._read()) // 2

    def noticed(self) -> Ms:
        """Milliseconds that the clock was set forward, or back (negative), since this was last called; 0 if it was not."""
        low, high = self._read()
        if low - _LEAST <= self._ahead <= high + _LEAST:
            return 0
        by = round(((low + high) // 2 - self._ahead) / _MS)
        self._ahead += by * _MS
        return by

    def _read(self) -> tuple[int, int]:
        """Bounds of how far the one clock is ahead of the other."""
        best = self._once()
        for _ in range(_TRIES):
            if best[1] - best[0] < _MS:
                break
            best = min(best, self._once(), key=lambda bounds: bounds[1] - bounds[0])
        return best

    def _once(self) -> tuple[int, int]:
        before = self._steady()
        wall = self._wall()
        return wall - self._steady(), wall - before


def _steady() -> int:
    # Linux's monotonic clock stands still while the machine sleeps, other systems' goes on.
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
