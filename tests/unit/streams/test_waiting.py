"""Waiting: items are given back when their time has come, in the order of their times."""

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.delivery.waiting import Waiting
from tests.unit.ringcloud import virtual_loop

START = datetime(2026, 11, 25, tzinfo=UTC)


class Wall:
    """A wall clock that goes with the loop's, and can be set."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.zero = self.loop.time()
        self.set_by = 0.0

    def __call__(self) -> datetime:
        return START + timedelta(seconds=self.loop.time() - self.zero + self.set_by)


@settings(deadline=None)
@given(seconds=st.lists(st.integers(-5000, 90_000).map(lambda ms: ms / 1000), max_size=30))
def test_each_comes_back_when_its_time_has_come(seconds: list[float]) -> None:
    async def scenario() -> None:
        wall = Wall()
        rung: list[tuple[int, datetime]] = []
        waiting: Waiting[int] = Waiting(wall, lambda item: rung.append((item, wall())))
        for item, wait in enumerate(seconds):
            waiting.add(START + timedelta(seconds=wait), item)
        assert rung == []
        await asyncio.sleep(100)
        assert sorted(item for item, _ in rung) == list(range(len(seconds)))
        for item, at in rung:
            late = (at - START).total_seconds() - max(seconds[item], 0)
            assert -1e-5 < late < 0.001  # a datetime has microseconds
        assert [seconds[item] for item, _ in rung if seconds[item] > 0] == sorted(one for one in seconds if one > 0)

    virtual_loop.run(scenario())


def test_a_clock_that_is_set_is_noticed_within_a_second() -> None:
    async def scenario() -> None:
        wall = Wall()
        rung: list[str] = []
        waiting: Waiting[str] = Waiting(wall, rung.append)
        waiting.add(START + timedelta(hours=1), "later")
        await asyncio.sleep(0)
        wall.set_by = 3600.0
        await asyncio.sleep(1.1)
        assert rung == ["later"]

    virtual_loop.run(scenario())


def test_what_is_withdrawn_does_not_come() -> None:
    async def scenario() -> None:
        wall = Wall()
        rung: list[int] = []
        waiting: Waiting[int] = Waiting(wall, rung.append)
        for item in range(10):
            waiting.add(START + timedelta(seconds=item), item)
        waiting.withdraw(lambda item: item % 2 == 0)
        await asyncio.sleep(20)
        assert rung == [1, 3, 5, 7, 9]

    virtual_loop.run(scenario())
