"""The clock that the limiter counts by: monotonic seconds, injected so that tests can run it by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; nothing happens where it was made already."""


class Clock(Protocol):
    """Monotonic time in seconds."""

    def now(self) -> float:
        """The time now; never goes back."""

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Make `call` at `when` or a little later, in the running event loop."""

    async def sleep_until(self, when: float) -> None:
        """Return at `when`, never before it; at once where it is past."""


class LoopClock:
    """The event loop's own clock, the loop's that runs when it is first asked: whoever replaces that replaces the time.

    A loop may read its time once an iteration and in whole milliseconds (uvloop does): `now()` can lag, never lead.
    """

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        # Kept: Python 3.11 asks the system for the process's number each time that it is asked for the loop.
        return asyncio.get_running_loop()

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Make `call` at `when`, less or plus the resolution of the loop's timers."""
        return self._loop.call_at(when, call)

    async def sleep_until(self, when: float) -> None:
        """Return once `now()` has reached `when`."""
        while (left := when - self.now()) > 0:  # noqa: ASYNC110 - a timer may fire early
            await asyncio.sleep(left)
