"""Lanes: bounded in what is under way, in what waits, and in how long it waits."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.lanes import Lane


class Work:
    """Items are under way until told otherwise; the clock stands still until told otherwise."""

    def __init__(self, *, concurrency: int = 2, capacity: int = 3, patience: float = 1.0) -> None:
        self.now = 0.0
        self.gates: dict[int, asyncio.Event] = {}
        self.finished: list[int] = []
        self.most = 0
        self.lane: Lane[int] = Lane(
            self.run, concurrency=concurrency, capacity=capacity, patience=patience, clock=lambda: self.now
        )

    async def run(self, item: int) -> None:
        gate = self.gates.setdefault(item, asyncio.Event())
        self.most = max(self.most, self.lane.running)
        await gate.wait()
        self.finished.append(item)

    async def finish(self, item: int) -> None:
        self.gates.setdefault(item, asyncio.Event()).set()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_runs_so_many_queues_so_many_and_refuses_the_rest() -> None:
    work = Work()
    assert [work.lane.offer(n) for n in range(7)] == [True] * 5 + [False] * 2
    assert (work.lane.running, work.lane.waiting) == (2, 3)
    await settled()
    for n in range(5):
        await work.finish(n)
    assert work.finished == [0, 1, 2, 3, 4]
    assert (work.lane.running, work.lane.waiting) == (0, 0)
    assert work.most == 2


async def test_what_waits_too_long_is_given_back_and_a_stalled_lane_takes_no_more_in() -> None:
    work = Work()
    assert all(work.lane.offer(n) for n in range(3))
    assert work.lane.overdue() == []
    work.now = 0.5
    assert work.lane.offer(3)
    work.now = 1.0
    assert work.lane.overdue() == [2]
    assert not work.lane.offer(4)
    await settled()
    await work.finish(0)
    # Something finished: it moves again, and the one that waited got the place.
    assert work.lane.running == 2
    assert work.lane.offer(5)
    for n in (1, 3, 5):
        await work.finish(n)


async def test_withdrawn_items_do_not_run() -> None:
    work = Work()
    assert all(work.lane.offer(n) for n in range(5))
    assert work.lane.withdraw(lambda n: n % 2 == 0) == [2, 4]
    await settled()
    for n in (0, 1, 3):
        await work.finish(n)
    assert work.finished == [0, 1, 3]


async def test_a_cancelled_item_makes_room() -> None:
    work = Work(concurrency=1)
    assert work.lane.offer(0)
    assert work.lane.offer(1)
    await settled()
    for task in work.lane.tasks(lambda n: n == 0):
        task.cancel()
    await settled()
    await work.finish(1)
    assert work.finished == [1]


@given(concurrency=st.integers(1, 4), capacity=st.integers(0, 6), offers=st.integers(0, 20))
def test_holds_never_more_than_its_bounds(concurrency: int, capacity: int, offers: int) -> None:
    async def scenario() -> None:
        work = Work(concurrency=concurrency, capacity=capacity)
        taken = [n for n in range(offers) if work.lane.offer(n)]
        assert len(taken) == min(offers, concurrency + capacity)
        for n in taken:
            await work.finish(n)
        assert work.finished == taken
        assert work.most <= concurrency

    asyncio.run(scenario())
