"""A lane per endpoint: so many attempts under way at once and in a second, a bounded queue behind them, and no more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from streams.delivery.pace import Pace

Item = TypeVar("Item")


class Lane(Generic[Item]):
    """Runs items for one endpoint. What it has no place for, or keeps waiting too long, is the caller's to put elsewhere.

    So an endpoint that hangs holds no more than its own queue, and that only for as long as the patience lasts.
    """

    def __init__(
        self,
        run: Callable[[Item], Awaitable[None]],
        *,
        concurrency: int,
        capacity: int,
        patience: float,
        clock: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        """Take what is done with an item, and the bounds.

        Args:
            run: Does the work on an item. It must not raise.
            concurrency: Items under way at once.
            capacity: Items that may wait.
            patience: Seconds that one may wait.
            clock: Seconds on a clock that only goes forward; with a pace, the running loop's.
            pace: When the next item may begin; None: whenever there is a place.
        """
        self._run = run
        self._concurrency = concurrency
        self._capacity = capacity
        self._patience = patience
        self._clock = clock
        self._pace = pace
        self._alarm: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[float, Item]] = deque()
        self._running: dict[asyncio.Task[None], Item] = {}
        # Waiting has proved in vain and nothing has finished since: new items need not try.
        self._stalled = False

    @property
    def running(self) -> int:
        """How many items are under way."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    @property
    def crowded(self) -> bool:
        """Whether it is for the items under way that others wait, and not for the pace."""
        return len(self._running) >= self._concurrency

    def change(self, concurrency: int, pace: Pace | None) -> None:
        """Go by other bounds from now on. What waits stays in its place, what is under way goes on."""
        self._concurrency = concurrency
        self._pace = pace
        if self._alarm is not None:
            # It was set for the pace before.
            self._alarm.cancel()
            self._alarm = None
        self._stalled = False
        self._fill()

    def offer(self, item: Item) -> bool:
        """Take the item in, if there is a place for it; must be called within the running loop.

        What the pace would keep waiting for longer than the patience is not taken in at all.
        """
        if not self._waiting and self._free():
            self._start(item)
            return True
        if self._stalled or len(self._waiting) >= self._capacity or self._too_far(len(self._waiting)):
            return False
        self._waiting.append((self._clock(), item))
        self._fill()
        return True

    def overdue(self) -> list[Item]:
        """Give back the items that have waited for longer than the patience."""
        latest = self._clock() - self._patience
        items: list[Item] = []
        while self._waiting and self._waiting[0][0] <= latest:
            items.append(self._waiting.popleft()[1])
        self._stalled = self._stalled or (bool(items) and self.crowded)
        return items

    def withdraw(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Give back the waiting items for which the condition holds."""
        items = [item for _, item in self._waiting if condition(item)]
        self._waiting = deque((since, item) for since, item in self._waiting if not condition(item))
        return items

    def tasks(self, condition: Callable[[Item], bool]) -> list[asyncio.Task[None]]:
        """The tasks of the items under way for which the condition holds."""
        return [task for task, item in self._running.items() if condition(item)]

    def _free(self) -> bool:
        return not self.crowded and (self._pace is None or self._pace.left() <= 0)

    def _too_far(self, before: int) -> bool:
        return self._pace is not None and self._pace.left() + before * self._pace.spacing > self._patience

    def _start(self, item: Item) -> None:
        if self._pace is not None:
            self._pace.used()
        task: asyncio.Task[None] = asyncio.ensure_future(self._run(item))
        self._running[task] = item
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._stalled = False
        if not task.cancelled() and task.exception() is not None:
            # The asyncio way to make an error seen that nobody awaits: `run` has promised to raise none.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a lane's work raised", "exception": task.exception(), "task": task}
            )
        self._fill()

    def _fill(self) -> None:
        """Begin what may begin, and come back when the pace lets the next one."""
        while self._waiting and self._free():
            self._start(self._waiting.popleft()[1])
        if self._pace is None or self._alarm is not None or not self._waiting or self.crowded:
            return
        self._alarm = asyncio.get_running_loop().call_at(self._pace.next_at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._fill()
