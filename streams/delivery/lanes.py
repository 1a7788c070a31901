"""A lane per endpoint: so many attempts under way at once, a bounded queue behind them, and no more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

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
    ) -> None:
        """Take what is done with an item, and the bounds.

        Args:
            run: Does the work on an item. It must not raise.
            concurrency: Items under way at once.
            capacity: Items that may wait.
            patience: Seconds that one may wait.
            clock: Seconds on a clock that only goes forward.
        """
        self._run = run
        self._concurrency = concurrency
        self._capacity = capacity
        self._patience = patience
        self._clock = clock
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

    def offer(self, item: Item) -> bool:
        """Take the item in, if there is a place for it; must be called within the running loop."""
        if len(self._running) < self._concurrency:
            self._start(item)
            return True
        if self._stalled or len(self._waiting) >= self._capacity:
            return False
        self._waiting.append((self._clock(), item))
        return True

    def overdue(self) -> list[Item]:
        """Give back the items that have waited for longer than the patience."""
        latest = self._clock() - self._patience
        items: list[Item] = []
        while self._waiting and self._waiting[0][0] <= latest:
            items.append(self._waiting.popleft()[1])
        self._stalled = self._stalled or bool(items)
        return items

    def withdraw(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Give back the waiting items for which the condition holds."""
        items = [item for _, item in self._waiting if condition(item)]
        self._waiting = deque((since, item) for since, item in self._waiting if not condition(item))
        return items

    def tasks(self, condition: Callable[[Item], bool]) -> list[asyncio.Task[None]]:
        """The tasks of the items under way for which the condition holds."""
        return [task for task, item in self._running.items() if condition(item)]

    def _start(self, item: Item) -> None:
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
        while self._waiting and len(self._running) < self._concurrency:
            self._start(self._waiting.popleft()[1])
