"""The clock that the whole sandbox reads, so that a test can own time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
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


class StepClock:
    """The time that a shared state gives: it stands still while a step is done, and runs on by this machine between.

    Processes that do the same steps so do them at the same times, whatever their own clocks say.
    """

    def __init__(self) -> None:
        self._at_us = 0
        self._since_ns: int | None = time.monotonic_ns()

    @contextmanager
    def at(self, moment_us: int) -> Iterator[None]:
        """Stand still at `moment_us` (µs since the Unix epoch), or where time was when that is later."""
        self._at_us = max(self._at_us, moment_us)
        self._since_ns = None
        try:
            yield
        finally:
            self._since_ns = time.monotonic_ns()

    def now(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return self.monotonic_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Nanoseconds since the Unix epoch; never goes back from step to step."""
        passed_ns = 0 if self._since_ns is None else time.monotonic_ns() - self._since_ns
        return self._at_us * 1000 + passed_ns


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
