"""Runs what nobody waits for, and hands on the first error of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any


class Errands:
    """Tasks of a service that end by themselves; an error of one is the service's."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        """Take what is done with an error."""
        self._fail = fail
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin; must be called within the running loop. The task may be cancelled."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def after(self, futures: Sequence[asyncio.Future[Any]], then: Callable[[], None]) -> None:
        """Call `then` once all of the futures have a result; never, if one fails or is cancelled.

        They are another's: neither `wait` nor `cancel` is for them.
        """
        left = len(futures)

        def one_done(future: asyncio.Future[Any]) -> None:
            nonlocal left
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                self._fail(error)
                return
            left -= 1
            if not left:
                then()

        for future in futures:
            future.add_done_callback(one_done)

    async def wait(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until those under way have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cut off all that are under way; gives them back, to be awaited."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)
