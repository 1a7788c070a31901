"""The limiter's rules, one by one, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from itertools import pairwise

import pytest
import uvloop

from gateway.ringcloud.clock import LoopClock
from gateway.ringcloud.errors import DeadlineExceeded
from gateway.ringcloud.limiter import Limiter
from gateway.ringcloud.turns import GUARD, MAX_BACKOFF, MAX_RETRY_AFTER, UNDERWAY, Lane, Priority
from tests.unit.ringcloud.virtual_loop import run

LANE = Lane("1000_secret", "GET", "/v1/calls/active")
STEP = 5.0 + GUARD


def virtual(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def running() -> None:
        async def main() -> None:
            await test()

        run(main())

    del running.__wrapped__  # pytest would see a coroutine function in it
    return running


def now() -> float:
    return asyncio.get_running_loop().time()


async def turn(
    limiter: Limiter,
    lane: Lane = LANE,
    *,
    takes: float = 0.0,
    priority: Priority = Priority.POLL,
    deadline: float | None = None,
    interval: float = 5.0,
) -> float:
    """When the turn began."""
    async with limiter.slot(lane, interval, priority=priority, deadline=deadline) as slot:
        began = now()
        await asyncio.sleep(takes)
        slot.answered()
    return began


async def refused(limiter: Limiter, retry_after: float | None = None, interval: float = 5.0) -> float:
    async with limiter.slot(LANE, interval) as slot:
        slot.answered(rate_limited=True, retry_after=retry_after)
        return now()


@virtual
async def test_a_turn_begins_an_interval_after_the_answer_to_the_one_before() -> None:
    limiter = Limiter()
    began = now()
    assert await turn(limiter, takes=1.5) == began
    assert await turn(limiter) == pytest.approx(began + 1.5 + STEP)


@virtual
async def test_what_is_read_after_the_answers_head_costs_no_time() -> None:
    limiter = Limiter()
    began = now()
    async with limiter.slot(LANE, 5.0) as slot:
        slot.answered()
        await asyncio.sleep(3)
        slot.answered()  # only the first call counts
    assert await turn(limiter) == pytest.approx(began + STEP)


@virtual
async def test_without_an_answer_the_interval_counts_from_just_after_giving_up() -> None:
    limiter = Limiter()
    began = now()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), limiter.slot(LANE, 5.0):
            await asyncio.sleep(10)
    assert await turn(limiter) == pytest.approx(began + 2 + UNDERWAY + STEP)


@virtual
async def test_one_at_a_time_in_a_lane() -> None:
    limiter = Limiter()
    began = now()
    starts = await asyncio.gather(*(turn(limiter, takes=20.0) for _ in range(3)))
    assert starts == pytest.approx([began, began + 20 + STEP, began + 2 * (20 + STEP)])


@virtual
async def test_lanes_do_not_wait_for_each_other() -> None:
    limiter = Limiter()
    lanes = [LANE, LANE._replace(key="1000_other"), LANE._replace(method="POST"), LANE._replace(path="/v1/users")]
    assert await asyncio.gather(*(turn(limiter, lane) for lane in lanes)) == [now()] * 4


@virtual
async def test_commands_go_before_polls_and_within_one_who_came_first() -> None:
    limiter = Limiter()
    await turn(limiter)
    order: list[str] = []

    async def named(name: str, priority: Priority) -> None:
        await turn(limiter, priority=priority)
        order.append(name)

    await asyncio.gather(
        named("poll 1", Priority.POLL),
        named("poll 2", Priority.POLL),
        named("command 1", Priority.COMMAND),
        named("command 2", Priority.COMMAND),
    )
    assert order == ["command 1", "command 2", "poll 1", "poll 2"]


@virtual
async def test_a_deadline_that_cannot_be_met_fails_at_once() -> None:
    limiter = Limiter()
    began = now()
    await turn(limiter)
    with pytest.raises(DeadlineExceeded) as raised:
        await turn(limiter, deadline=began + 4.9)
    assert now() == began
    assert LANE.key not in str(raised.value)
    assert limiter.stats.expired == 1
    assert await turn(limiter, deadline=began + STEP) == pytest.approx(began + STEP)


@virtual
async def test_a_deadline_fails_as_soon_as_another_has_the_last_turn_before_it() -> None:
    limiter = Limiter()
    began = now()
    await turn(limiter)
    poll = asyncio.create_task(turn(limiter, deadline=began + 8))
    await asyncio.sleep(1)
    await turn(limiter, priority=Priority.COMMAND)
    with pytest.raises(DeadlineExceeded):
        await poll
    assert now() == pytest.approx(began + STEP)


@virtual
async def test_a_deadline_passes_while_another_is_under_way() -> None:
    limiter = Limiter()
    began = now()
    slow = asyncio.create_task(turn(limiter, takes=30))
    await asyncio.sleep(0)
    waiter = asyncio.create_task(turn(limiter, deadline=began + 20))
    with pytest.raises(DeadlineExceeded):
        await waiter
    assert now() == pytest.approx(began + 15, abs=5.1)  # certain at the latest when it passes
    await slow


@virtual
async def test_a_turn_that_falls_due_at_the_deadline_meets_it() -> None:
    limiter = Limiter()
    began = now()
    slow = asyncio.create_task(turn(limiter, takes=1))
    await asyncio.sleep(0)
    due = began + 1 + 5.0 + GUARD
    waiters = [asyncio.create_task(turn(limiter, deadline=due, priority=priority)) for priority in reversed(Priority)]
    starts = await asyncio.gather(slow, *waiters, return_exceptions=True)
    assert starts[2] == due
    assert isinstance(starts[1], DeadlineExceeded)


@virtual
async def test_refusals_double_the_rest_up_to_a_cap_and_success_resets_it() -> None:
    limiter = Limiter()
    gaps = []
    last = await refused(limiter)
    for _ in range(5):
        at = await refused(limiter)
        gaps.append(at - last - GUARD)
        last = at
    assert gaps == pytest.approx([10, 20, 40, MAX_BACKOFF, MAX_BACKOFF])
    assert limiter.rate_limited == 6
    at = await turn(limiter)
    assert await refused(limiter) - at == pytest.approx(STEP)
    assert await turn(limiter) - at == pytest.approx(STEP + 10 + GUARD)


@virtual
async def test_retry_after_only_ever_delays() -> None:
    limiter = Limiter()
    at = await refused(limiter, retry_after=1)
    at_2 = await refused(limiter, retry_after=100)
    assert at_2 - at == pytest.approx(10 + GUARD)
    at_3 = await refused(limiter, retry_after=1e9)
    assert at_3 - at_2 == pytest.approx(100 + GUARD)
    assert await turn(limiter) - at_3 == pytest.approx(MAX_RETRY_AFTER + GUARD)


@virtual
async def test_an_interval_longer_than_the_cap_is_kept_when_refused() -> None:
    limiter = Limiter()
    at = await refused(limiter, interval=90)
    assert await turn(limiter, interval=90) - at == pytest.approx(90 + GUARD)


@virtual
async def test_who_waits_survives_a_refusal() -> None:
    limiter = Limiter()
    began = now()
    waiting = [asyncio.create_task(refused(limiter)), *(asyncio.create_task(turn(limiter)) for _ in range(3))]
    assert await asyncio.gather(*waiting) == pytest.approx([began + d for d in (0, 10.002, 15.004, 20.006)])


@virtual
async def test_a_lane_that_others_may_have_used_rests_first() -> None:
    limiter = Limiter(assume_used=True)
    began = now()
    assert limiter.estimate(LANE, 5.0) == pytest.approx(began + UNDERWAY + STEP)
    assert await turn(limiter) == pytest.approx(began + UNDERWAY + STEP)
    await asyncio.sleep(100)
    other = LANE._replace(path="/v1/users")
    assert await turn(limiter, other) == now()


@virtual
async def test_taking_over_a_key_rests_all_its_lanes_known_and_unknown() -> None:
    limiter = Limiter()
    await turn(limiter)
    waiting = asyncio.create_task(turn(limiter))
    await asyncio.sleep(3)
    limiter.assume_used(LANE.key)
    taken = now()
    fresh = LANE._replace(path="/v1/users")
    foreign = LANE._replace(key="1001_x")
    starts = await asyncio.gather(waiting, turn(limiter, fresh, interval=1.0), turn(limiter, foreign))
    assert starts == pytest.approx([taken + UNDERWAY + STEP, taken + UNDERWAY + 1 + GUARD, taken])


@virtual
async def test_a_slot_granted_to_one_who_was_cancelled_goes_to_the_next() -> None:
    limiter = Limiter()
    await turn(limiter)
    first, second = asyncio.create_task(turn(limiter)), asyncio.create_task(turn(limiter))
    # Cancelled in the very moment between the grant and its being heard of.
    asyncio.get_running_loop().call_at(now() + STEP, lambda: asyncio.get_running_loop().call_soon(first.cancel))
    began = now()
    assert await second == pytest.approx(began + STEP)
    assert first.cancelled()


@virtual
async def test_estimate_counts_those_that_go_before() -> None:
    limiter = Limiter()
    began = now()
    assert limiter.estimate(LANE, 5.0) == began
    await turn(limiter)
    tasks = [
        asyncio.create_task(turn(limiter, priority=p)) for p in (Priority.POLL, Priority.COMMAND, Priority.COMMAND)
    ]
    await asyncio.sleep(0)
    assert limiter.estimate(LANE, 5.0, priority=Priority.COMMAND) == pytest.approx(began + 3 * STEP)
    assert limiter.estimate(LANE, 5.0, priority=Priority.POLL) == pytest.approx(began + 4 * STEP)
    await asyncio.gather(*tasks)
    assert now() == pytest.approx(began + 3 * STEP)


@virtual
async def test_idle_lanes_are_forgotten_and_those_in_use_are_not() -> None:
    limiter = Limiter()
    held = LANE._replace(path="/held")
    holder = asyncio.create_task(turn(limiter, held, takes=10_000))
    await asyncio.sleep(0)
    for number in range(3000):
        await turn(limiter, LANE._replace(path=f"/v1/users/{number}"), interval=1.0)
        await asyncio.sleep(0.5)
    assert limiter.lanes <= 61.1 / 0.5 + 3  # those of the last minute, and the one that is held
    await asyncio.sleep(200)
    await turn(limiter)
    await asyncio.gather(*(turn(limiter, LANE._replace(path=f"/{n}")) for n in range(60)))
    assert limiter.lanes <= 65
    assert limiter.estimate(held, 5.0) > now()
    holder.cancel()


@virtual
async def test_an_observer_is_told() -> None:
    class Ears:
        def __init__(self) -> None:
            self.heard: list[object] = []

        def granted(self, method: str, path: str, priority: Priority, waited: float) -> None:
            self.heard.append((method, path, priority, round(waited, 3)))

        def expired(self, method: str, path: str, priority: Priority) -> None:
            self.heard.append((method, path, priority))

        def rate_limited(self, method: str, path: str, backoff: float) -> None:
            self.heard.append((method, path, backoff))

    ears = Ears()
    limiter = Limiter(observer=ears)
    await refused(limiter)
    with pytest.raises(DeadlineExceeded):
        await turn(limiter, deadline=now() + 1)
    await turn(limiter, priority=Priority.COMMAND)
    assert ears.heard == [
        ("GET", LANE.path, Priority.POLL, 0.0),
        ("GET", LANE.path, 10.0),
        ("GET", LANE.path, Priority.POLL),
        ("GET", LANE.path, Priority.COMMAND, 10.002),
    ]
    assert (limiter.stats.granted, limiter.stats.expired, limiter.stats.rate_limited) == (2, 1, 1)


def test_a_lane_does_not_show_its_key() -> None:
    assert LANE.key not in repr(LANE)
    assert LANE.key not in f"{LANE}"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_on_real_loops_turns_are_never_too_close(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> list[float]:
        limiter = Limiter(LoopClock())
        seen = []
        for _ in range(20):
            async with limiter.slot(LANE, 0.01) as slot:
                seen.append(LoopClock().now())
                slot.answered()
        await limiter.clock.sleep_until(limiter.clock.now() + 0.001)
        return seen

    with asyncio.Runner(loop_factory=loop) as runner:
        seen = runner.run(main())
    assert min(b - a for a, b in pairwise(seen)) >= 0.01
