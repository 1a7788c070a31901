"""Lanes: in order within one, side by side between them, bounded, and gone when idle."""

from __future__ import annotations

import asyncio

import pytest

from gateway.commands import lanes as module
from gateway.commands.lanes import Lanes


class Work:
    """Items that end when they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    async def run(self, item: str) -> None:
        self.begun.append(item)
        await self._gates.setdefault(item, asyncio.Event()).wait()

    async def end(self, *items: str) -> None:
        for item in items:
            self._gates.setdefault(item, asyncio.Event()).set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


A, B = (1, ("a",)), (1, ("b",))


async def test_a_lane_keeps_its_order_and_holds_up_no_other() -> None:
    work = Work()
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(tasks, work.run)
        for item in ("a1", "a2", "a3"):
            lanes.put(A, item, 1)
        lanes.put(B, "b1", 1)
        await settle()
        assert work.begun == ["a1", "b1"]
        assert (lanes.ahead(A), lanes.ahead(B)) == (2, 0)
        await work.end("a1")
        assert work.begun == ["a1", "b1", "a2"]
        await work.end("a2", "a3", "b1")
    assert work.begun == ["a1", "b1", "a2", "a3"]
    assert lanes._lanes == {}


async def test_a_wide_lane_runs_as_many_at_once() -> None:
    work = Work()
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(tasks, work.run)
        for item in ("1", "2", "3"):
            lanes.put(A, item, 2)
        await settle()
        assert work.begun == ["1", "2"]
        await work.end("2")
        assert work.begun == ["1", "2", "3"]
        await work.end("1", "3")


async def test_there_is_room_for_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    work = Work()
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(tasks, work.run)
        for item in ("1", "2", "3"):
            lanes.put(A, item, 1)
        await settle()
        waiter = asyncio.create_task(lanes.room())
        await settle()
        assert not waiter.done()
        await work.end("1")
        await waiter
        await work.end("2", "3")


async def test_what_an_item_raises_ends_all() -> None:
    async def fail(item: str) -> None:
        raise OSError(item)

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            Lanes(tasks, fail).put(A, "x", 1)
    assert caught.group_contains(OSError, match="x")
