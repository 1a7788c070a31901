"""Queues of commands: in order within a lane, side by side between lanes. An idle lane costs nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec

from gateway.commands import metrics

Item = TypeVar("Item")
LaneKey = tuple[int, tuple[str, ...]]

# Commands that wait in a shard at most. Behind them its records wait on the topic.
MOST_WAITING = 10_000


class _Lane(msgspec.Struct, Generic[Item]):
    waiting: deque[Item]
    workers: int = 0


class Lanes(Generic[Item]):
    """Runs what is put into its lanes, in order, as many of a lane at once as it is wide."""

    def __init__(self, tasks: asyncio.TaskGroup, run: Callable[[Item], Awaitable[None]]) -> None:
        """`run` is awaited for each item in its turn, in a task of `tasks`: what it raises ends them all."""
        self._tasks = tasks
        self._run = run
        self._lanes: dict[LaneKey, _Lane[Item]] = {}
        self._waiting = 0
        self._room = asyncio.Event()
        self._room.set()

    def put(self, key: LaneKey, item: Item, width: int) -> None:
        """Put an item at a lane's end; `width` is how many of the lane may run at once."""
        lane = self._lanes.setdefault(key, _Lane(deque()))
        lane.waiting.append(item)
        self._count(1)
        if lane.workers < width:
            lane.workers += 1
            self._tasks.create_task(self._work(key, lane))

    def ahead(self, key: LaneKey) -> int:
        """How many wait in a lane, those that run apart."""
        lane = self._lanes.get(key)
        return 0 if lane is None else len(lane.waiting)

    async def room(self) -> None:
        """Wait until there is room for more."""
        await self._room.wait()

    def close(self) -> None:
        """Nothing runs any more."""
        metrics.WAITING.dec(self._waiting)

    async def _work(self, key: LaneKey, lane: _Lane[Item]) -> None:
        while lane.waiting:
            item = lane.waiting.popleft()
            self._count(-1)
            await self._run(item)
        lane.workers -= 1
        if not lane.workers:
            self._lanes.pop(key, None)

    def _count(self, change: int) -> None:
        self._waiting += change
        metrics.WAITING.inc(change)
        if self._waiting < MOST_WAITING:
            self._room.set()
        else:
            self._room.clear()
