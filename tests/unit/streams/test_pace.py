"""Paces: on a simulated clock, no second sees more attempts than the rate and one, and none of those that wait is lost."""

import asyncio
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.delivery.lanes import Lane
from streams.delivery.pace import Pace
from tests.unit.ringcloud import virtual_loop

PATIENCE = 1.0


class Paced:
    """A lane with a pace, whose work takes a given time; what it does not take comes back at the place booked for it."""

    def __init__(self, rate: float, *, concurrency: int, capacity: int, duration: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.began: list[float] = []
        self.done: list[int] = []
        self.duration = duration
        self.pace = Pace(rate, self.loop.time)
        self.lane: Lane[int] = Lane(
            self.run,
            concurrency=concurrency,
            capacity=capacity,
            patience=PATIENCE,
            clock=self.loop.time,
            pace=self.pace,
        )
        self.most_waiting = 0
        self.wanted = 0
        self.all_done = asyncio.Event()

    async def run(self, item: int) -> None:
        self.began.append(self.loop.time())
        await asyncio.sleep(self.duration)
        self.done.append(item)
        if len(self.done) == self.wanted:
            self.all_done.set()

    def enter(self, item: int) -> None:
        if not self.lane.offer(item):
            self.again(item)
        self.most_waiting = max(self.most_waiting, self.lane.waiting)

    def again(self, item: int) -> None:
        self.loop.call_later(self.pace.book(), self.enter, item)

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE / 4)
            for item in self.lane.overdue():
                self.again(item)


@settings(deadline=None)
@given(
    rate=st.floats(0.05, 50),
    concurrency=st.integers(1, 8),
    capacity=st.integers(1, 20),
    duration=st.floats(0, 3),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=40),
)
def test_no_second_sees_more_than_the_rate_and_one(
    rate: float, concurrency: int, capacity: int, duration: float, gaps: list[float]
) -> None:
    async def scenario() -> None:
        paced = Paced(rate, concurrency=concurrency, capacity=capacity, duration=duration)
        paced.wanted = len(gaps)
        sweep = asyncio.ensure_future(paced.sweep())
        for item, gap in enumerate(gaps):
            await asyncio.sleep(gap)
            paced.enter(item)
        await paced.all_done.wait()
        sweep.cancel()
        assert sorted(paced.done) == list(range(len(gaps)))
        assert paced.most_waiting <= capacity
        for first, began in enumerate(paced.began):
            within = [at for at in paced.began[first:] if at - began < 1 - 1e-6]
            assert len(within) <= math.floor(rate) + 1
        assert all(b - a >= 1 / rate - 1e-6 for a, b in zip(paced.began, paced.began[1:], strict=False))

    virtual_loop.run(scenario())


@settings(deadline=None)
@given(rate=st.floats(0.5, 50), count=st.integers(1, 100))
def test_a_rate_is_used_when_there_is_work(rate: float, count: int) -> None:
    async def scenario() -> None:
        paced = Paced(rate, concurrency=256, capacity=250, duration=0.01)
        paced.wanted = count
        start = paced.loop.time()
        sweep = asyncio.ensure_future(paced.sweep())
        for item in range(count):
            paced.enter(item)
        await paced.all_done.wait()
        sweep.cancel()
        # The first waits for a place too; one in ten may be lost to coming a little late.
        assert paced.began[-1] - start <= (count + 1) / rate * 1.1 + PATIENCE

    virtual_loop.run(scenario())


def test_a_place_that_is_booked_lies_behind_all_the_others() -> None:
    now = 0.0
    pace = Pace(2.0, lambda: now)
    assert pace.left() == 0.5
    assert pace.backlog() == 0
    assert [pace.book() for _ in range(3)] == [1.0, 1.5, 2.0]
    assert pace.backlog() == 1.5
    now = 1.0
    pace.used()
    assert pace.left() == 0.5
    assert pace.backlog() == 0.5
    now = 10.0
    assert pace.left() < 0
    assert pace.book() == 0.5


async def test_a_lane_that_waits_for_its_pace_alone_is_not_stalled() -> None:
    """Nothing is under way that could finish, so nothing would ever let it move again."""
    now = 0.0
    ran: list[int] = []

    async def run(item: int) -> None:
        ran.append(item)

    pace = Pace(2.0, lambda: now)
    lane: Lane[int] = Lane(run, concurrency=1, capacity=5, patience=1.0, clock=lambda: now, pace=pace)
    assert lane.offer(0)
    assert not lane.crowded
    now = 1.0
    pace.used()
    assert lane.overdue() == [0]
    assert lane.offer(1)
    now = 5.0
    assert lane.offer(2)
    await asyncio.sleep(0)
    assert ran == [1]
