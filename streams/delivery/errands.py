"""Runs what nobody waits for, and hands on the first error of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
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
