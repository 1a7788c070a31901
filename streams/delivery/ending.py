"""Ends the work on deliveries: on those of partitions that are taken away, and on all when the worker stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import structlog

from streams.delivery.errands import Errands
from streams.delivery.intake import Entry, Partition
from streams.delivery.ordering import Ordering
from streams.delivery.routes import Routes
from streams.delivery.waiting import Waiting
from streams.outbox import Outbox

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Seconds that attempts under way get to finish when their partitions are taken away, or the worker stops. An attempt
# that is cut off may have been received, and is made again.
REVOKE_GRACE = 1.0
STOP_GRACE = 5.0
# Seconds that the brokers get in any case to take what is left.
_LEAST_GRACE = 1.0


class Ending:
    """Ends the work on entries, wherever they are in the worker."""

    def __init__(
        self,
        *,
        routes: Routes,
        ordering: Ordering,
        waiting: Waiting[Entry],
        errands: Errands,
        outbox: Outbox,
        park: Callable[[Entry, float], Coroutine[Any, Any, None]],
        clock: Callable[[], datetime],
    ) -> None:
        """Take the places where entries are, and what parks one for so many seconds."""
        self._routes = routes
        self._ordering = ordering
        self._waiting = waiting
        self._errands = errands
        self._outbox = outbox
        self._park = park
        self._clock = clock
        # Seconds that attempts under way get.
        self.grace = REVOKE_GRACE

    async def release(self, entries: list[Entry]) -> None:
        """End the work on entries that are no longer ours: attempts may finish for a while, the rest is left or parked.

        Those that keep a finished one from being committed are parked: it would be delivered twice otherwise.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.grace
        mine = set(entries)
        # From here on none of them is begun.
        self._waiting.withdraw(mine.__contains__)
        self._ordering.withdraw(mine.__contains__)
        self._routes.withdraw(mine.__contains__)
        attempts = self._routes.tasks(mine.__contains__)
        if attempts:
            _, late = await asyncio.wait(attempts, timeout=self.grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        # Usually a few milliseconds; longer only where the brokers do not answer.
        left = max(deadline - loop.time(), _LEAST_GRACE)
        await self._errands.wait(left)
        # What attempts have handed over counts once it is written.
        await self._outbox.flush(left)
        await self._park_blockers({entry.partition for entry in entries})

    async def _park_blockers(self, partitions: set[Partition]) -> None:
        now = self._clock()
        parked: list[asyncio.Task[None]] = []
        for partition in partitions:
            for offset in partition.tracker.blockers():
                entry = partition.entries[offset]
                if entry.data is not None:
                    wait = max(((entry.data.due_at or now) - now).total_seconds(), 0.0)
                    parked.append(asyncio.create_task(self._park(entry, wait)))
        if not parked:
            return
        _, late = await asyncio.wait(parked, timeout=_LEAST_GRACE)
        for task in late:
            task.cancel()
        # An error here leaves offsets uncommitted, no more: what is not parked is read again.
        for error in await asyncio.gather(*parked, return_exceptions=True):
            if isinstance(error, Exception):
                _log.warning("a delivery was not parked", kind=type(error).__name__)

    async def abandon(self) -> None:
        """Drop whatever is under way."""
        self._waiting.withdraw(lambda _: True)
        await self._ordering.stop()
        self._routes.withdraw(lambda _: True)
        tasks = [*self._errands.cancel(), *self._routes.tasks(lambda _: True)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
