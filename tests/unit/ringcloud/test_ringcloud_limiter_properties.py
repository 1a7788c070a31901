"""The limiter against a server that counts, a network that jitters, and callers that come and go as they like."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ringcloud.errors import DeadlineExceeded
from gateway.ringcloud.limiter import Limiter
from gateway.ringcloud.turns import GUARD, UNDERWAY, Lane, Priority
from tests.unit.ringcloud.virtual_loop import run

LANE = Lane("1000_key", "GET", "/v1/calls/active")
INTERVAL = 5.0


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Server:
    """Sees requests after a delay of the network, those that were given up too; answers after another; refuses what
    comes too early."""

    chance: random.Random
    delay: float
    seen: list[float] = field(default_factory=list)
    refused: int = 0

    async def ask(self) -> int:
        arrives = now() + self.chance.uniform(0, self.delay)
        try:
            await asyncio.sleep(arrives - now())
        except asyncio.CancelledError:
            # Nobody waits for it any more, and it is on its way all the same.
            asyncio.get_running_loop().call_later(min(arrives - now(), UNDERWAY), self.see)
            raise
        early = self.see()
        # Answers seldom take long, and then very long.
        await asyncio.sleep(self.chance.uniform(0, self.delay) * self.chance.choice([0.1, 1, 1, 1, 20]))
        return 429 if early else 200

    def see(self) -> bool:
        """A request is here; whether it is too early."""
        early = bool(self.seen) and now() - self.seen[-1] < INTERVAL
        self.seen.append(now())
        self.refused += early
        return early

    def closest(self) -> float:
        return min((b - a for a, b in pairwise(self.seen)), default=INTERVAL)


async def client(limiter: Limiter, server: Server, chance: random.Random, requests: int) -> None:
    """Asks again and again: sometimes it gives up on the limiter, on the server, or is cancelled."""
    for _ in range(requests):
        priority = chance.choice(list(Priority))
        deadline = now() + chance.uniform(0, 40) if chance.random() < 0.3 else None
        patience = chance.uniform(0, 30) if chance.random() < 0.3 else None
        try:
            async with (
                asyncio.timeout(patience),
                limiter.slot(LANE, INTERVAL, priority=priority, deadline=deadline) as slot,
            ):
                async with asyncio.timeout(10):
                    status = await server.ask()
                slot.answered(rate_limited=status == 429)
        except (TimeoutError, DeadlineExceeded):
            pass
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 20))


@given(seed=st.integers(0, 2**32), delay=st.sampled_from([0.0, 0.01, 0.2, 3.0]), clients=st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_the_server_never_sees_two_requests_closer_than_the_interval(seed: int, delay: float, clients: int) -> None:
    async def main() -> Server:
        chance = random.Random(seed)
        server = Server(chance, delay)
        limiter = Limiter()
        await asyncio.gather(*(client(limiter, server, chance, 12) for _ in range(clients)))
        assert limiter.rate_limited == 0
        return server

    server = run(main())
    assert server.refused == 0
    assert server.closest() >= INTERVAL


@pytest.mark.parametrize(("round_trip", "interval"), [(0.01, 5.0), (0.1, 5.0), (0.02, 1.0)])
def test_at_least_97_percent_of_the_rate_is_used_when_there_is_work(round_trip: float, interval: float) -> None:
    async def main() -> int:
        limiter = Limiter()
        chance = random.Random(1)
        end = now() + 1000 * interval
        done = 0

        async def busy() -> None:
            nonlocal done
            while now() < end:
                async with limiter.slot(LANE, interval) as slot:
                    await asyncio.sleep(chance.uniform(0, 2 * round_trip))
                    slot.answered()
                done += 1

        await asyncio.gather(busy(), busy())
        return done

    assert run(main()) >= 970


@dataclass(frozen=True)
class Caller:
    """Whole seconds, so that as much as possible falls on the same moment; `deadline` and `cancelled` count from when
    it comes, and the cancelling is `hops` rounds of the loop late."""

    comes: int
    priority: Priority
    deadline: int | None
    holds: int
    cancelled: int | None
    hops: int
    refused: bool


callers = st.builds(
    Caller,
    comes=st.integers(0, 12),
    priority=st.sampled_from(Priority),
    deadline=st.none() | st.integers(0, 20),
    holds=st.integers(0, 6),
    cancelled=st.none() | st.integers(0, 25),
    hops=st.integers(0, 4),
    refused=st.booleans(),
)


class Lived:
    """What happens in one lane, checked against the rules as it happens."""

    def __init__(self) -> None:
        self.limiter = Limiter()
        self.came = 0
        self.waiting: dict[int, tuple[Priority, int, float]] = {}  # priority, place, and since when
        self.holder: int | None = None
        self.free_at = 0.0
        self.last = 0.0
        self.refusals = 0

    def tick(self) -> None:
        """Since the last event no turn was owed to anybody for any length of time."""
        if self.waiting and self.holder is None:
            assert now() <= max(self.last, self.free_at) + 1e-6, "a slot was lost"
        self.last = now()

    async def take_turn(self, number: int, caller: Caller, deadline: float | None) -> None:
        self.tick()
        self.came += 1
        self.waiting[number] = (caller.priority, self.came, now())
        try:
            async with self.limiter.slot(LANE, INTERVAL, priority=caller.priority, deadline=deadline) as slot:
                self.begin(number, deadline)
                rest = INTERVAL + UNDERWAY
                try:
                    await asyncio.sleep(caller.holds)
                    self.refusals = self.refusals + 1 if caller.refused else 0
                    rest = min(INTERVAL * 2**self.refusals, 60)
                    slot.answered(rate_limited=caller.refused)
                finally:
                    self.tick()
                    self.holder = None
                    self.free_at = now() + rest + GUARD
        finally:
            self.tick()
            self.waiting.pop(number, None)

    def begin(self, number: int, deadline: float | None) -> None:
        self.tick()
        assert self.holder is None, "a slot was doubled"
        assert now() >= self.free_at - 1e-6
        assert deadline is None or now() <= deadline
        rank = self.waiting.pop(number)
        # Who came at this very moment may have come after the turn was given.
        assert all(other > rank for other in self.waiting.values() if other[2] < now()), "out of turn"
        self.holder = number

    async def live(self, number: int, caller: Caller) -> None:
        await asyncio.sleep(caller.comes)
        deadline = None if caller.deadline is None else now() + caller.deadline
        task = asyncio.create_task(self.take_turn(number, caller, deadline))
        if caller.cancelled is not None:
            await asyncio.sleep(caller.cancelled)
            for _ in range(caller.hops):
                await asyncio.sleep(0)
            self.tick()
            if task.cancel():
                self.waiting.pop(number, None)
        try:
            await task
        except DeadlineExceeded:
            assert deadline is not None
        except asyncio.CancelledError:
            assert caller.cancelled is not None


@given(plan=st.lists(callers, min_size=1, max_size=12))
@settings(max_examples=1000, deadline=None)
def test_cancellation_never_loses_or_doubles_a_slot(plan: list[Caller]) -> None:
    async def main() -> None:
        lived = Lived()
        await asyncio.gather(*(lived.live(number, caller) for number, caller in enumerate(plan)))
        assert not lived.waiting
        # The lane is left as free as it ought to be.
        lived.tick()
        await lived.take_turn(-1, Caller(0, Priority.POLL, None, 0, None, 0, refused=False), None)

    run(main())
