"""Time limits of many tasks at once, nearly all of which end well within theirs."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class Limit:
    """The time limit of what its `with` block does in one task; TimeoutError where that is over, as of asyncio.timeout."""

    __slots__ = ("_cancelling", "_expired", "_limits", "_task", "when")

    def __init__(self, limits: dict[Limit, None], when: float) -> None:
        self._limits = limits
        self._expired = False
        self.when = when

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit is for what runs in a task")
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._limits[self] = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._expired:
            del self._limits[self]
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Its time is over."""
        self._expired = True
        self._task.cancel()


class Limits:
    """Makes time limits. All of so many seconds share one timer: they end in the order in which they began.

    A timer for each, which is set and called off again, is a twentieth of what an attempt costs.
    """

    def __init__(self) -> None:
        """To be used within one event loop."""
        self._loop = asyncio.get_running_loop()
        self._by_seconds: dict[float, dict[Limit, None]] = {}

    def within(self, seconds: float) -> Limit:
        """A limit for what its `with` block does, to be entered at once: in so many seconds it is cut off."""
        when = self._loop.time() + seconds
        limits = self._by_seconds.get(seconds)
        if limits is None:
            limits = self._by_seconds[seconds] = {}
            self._loop.call_at(when, self._ring, seconds)
        return Limit(limits, when)

    def _ring(self, seconds: float) -> None:
        """Cut off those whose time is over, and come back for the next."""
        limits, now = self._by_seconds[seconds], self._loop.time()
        while limits:
            first = next(iter(limits))
            if first.when > now:
                self._loop.call_at(first.when, self._ring, seconds)
                return
            del limits[first]
            first.expire()
        del self._by_seconds[seconds]
