"""The clock that the whole sandbox reads, so that a test can own time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the sandbox takes time from. Two readings, as the two serve different ends."""

    def now(self) -> int:
        """Wall time: milliseconds since the Unix epoch, UTC. May be stepped by the system."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary point; never goes back. Request limits are counted by it."""
        ...


class RealClock:
    """The time of the machine."""

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Nanoseconds of the system's monotonic clock."""
        return time.monotonic_ns()


class VirtualClock:
    """A clock that stands still until it is advanced.

    `start` is in milliseconds since the Unix epoch; the default is 2025-03-03 09:00:00 UTC.
    """

    def __init__(self, start: int = 1_740_992_400_000) -> None:
        self._start = start
        self._elapsed_ns = 0

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return self._start + self._elapsed_ns // 1_000_000

    def monotonic_ns(self) -> int:
        """Nanoseconds advanced so far."""
        return self._elapsed_ns

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds` (fractions allowed); ValueError when negative."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._elapsed_ns += round(seconds * 1_000_000_000)
