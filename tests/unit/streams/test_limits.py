"""Time limits that share a timer: each ends what it is for, in time, and nothing else."""

import asyncio

import pytest

from streams.delivery.limits import Limits


async def hang(limits: Limits, seconds: float, ended: list[float] | None = None) -> None:
    """Wait for nothing, within so many seconds; note them where they are over."""
    try:
        with limits.within(seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        if ended is None:
            raise
        ended.append(seconds)


async def test_what_takes_longer_is_cut_off_and_not_before_its_time() -> None:
    limits, loop = Limits(), asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        await hang(limits, 0.03)
    assert loop.time() - began >= 0.03
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_those_of_each_length_end_in_their_own_time() -> None:
    limits, ended = Limits(), []  # type: tuple[Limits, list[float]]
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for seconds in (0.06, 0.02, 0.04, 0.02):
            tasks.create_task(hang(limits, seconds, ended))
    assert ended == [0.02, 0.02, 0.04, 0.06]


async def test_one_that_ends_in_time_leaves_the_others_their_limits() -> None:
    limits, going_on = Limits(), asyncio.Event()

    async def quick() -> str:
        with limits.within(0.05):
            going_on.set()
        return "done"

    first = asyncio.create_task(hang(limits, 0.05))
    assert await quick() == "done"
    await going_on.wait()
    async with asyncio.timeout(10):
        with pytest.raises(TimeoutError):
            await first
    # Once a timer has found nothing left, another is set for what comes then.
    async with asyncio.timeout(10):
        with pytest.raises(TimeoutError):
            await hang(limits, 0.05)


async def test_an_error_of_its_own_and_a_cancellation_from_without_pass() -> None:
    limits = Limits()
    with pytest.raises(ValueError, match="its own"), limits.within(10):
        raise ValueError("its own")
    task = asyncio.create_task(hang(limits, 10))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_within_another_ends_by_the_shorter() -> None:
    limits = Limits()
    reached: list[str] = []

    async def work() -> None:
        with limits.within(10):
            try:
                with limits.within(0.02):
                    await asyncio.Event().wait()
            except TimeoutError:
                reached.append("inner")
            reached.append("after")

    async with asyncio.timeout(5):
        await work()
    assert reached == ["inner", "after"]


async def test_a_cancellation_from_without_is_one_even_as_the_time_is_over() -> None:
    limit = Limits().within(10)

    async def work() -> None:
        with limit:
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    limit.expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
