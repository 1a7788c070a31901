"""Shards have one owner each: gateways share them, and take over from one that goes, is killed, sleeps or is fenced."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.dev.brokers import Broker
from gateway.runtime.shards import shard_of
from sandbox.audit import Report
from sandbox.settings import SandboxSettings, TrafficProfile
from tests.support.gateway import Gateway, Runs, Site, keys_of, run_on_each, site
from tests.support.kafka import transactional
from tests.support.waiting import eventually

SHARDS = 4
ACCOUNTS = [3000 + n for n in range(8)]
# Seconds; no broker here allows a shorter one.
SESSION = 6
# Without twins: which of two calls that nothing tells apart was answered can be guessed wrongly.
TRAFFIC = TrafficProfile(
    ring_ms=(500, 2_000), talk_ms=(500, 4_000), no_answer_ms=(1_000, 5_000), talk_mean_ms=2_000, twin_share=0
)


@dataclass
class Run:
    """What two gateways of one group did."""

    shares: list[list[int]] = field(default_factory=list)
    report: Report | None = None
    rate_limited: int = -1
    fenced: int = 0
    mishaps: list[str] = field(default_factory=list)

    def told_all_once(self) -> bool:
        """Nothing is missing, doubled or out of its bounds."""
        assert self.report is not None
        assert self.report.calls >= 10
        return (self.report.missing, self.report.doubled, self.report.outside) == ([], [], [])


async def _shares(run: Run, *gateways: Gateway, settled: tuple[int, int] = (1, SHARDS)) -> None:
    """Wait until all shards are owned, by so many each at least and at most; note who owns how many."""
    least, most = settled

    async def owned() -> list[int]:
        """the gateways own all shards"""
        found = [await gateway.shards() for gateway in gateways]
        return found if sum(found) == SHARDS and all(least <= one <= most for one in found) else []

    run.shares.append(await eventually(owned, SESSION + 20.0, interval=0.1))


async def _finish(run: Run, place: Site, *gateways: Gateway) -> Run:
    place.sandbox.pbx.stop_placing()
    await place.all_told()
    run.rate_limited = place.sandbox.stats.report().rate_limited
    await asyncio.gather(*(gateway.stop() for gateway in gateways))
    run.report = await place.report()
    return run


def _settings() -> SandboxSettings:
    return SandboxSettings(keys=keys_of(ACCOUNTS), profile="live", traffic=TRAFFIC)


def _config() -> dict[str, dict[str, int]]:
    return {"kafka": {"shards": SHARDS, "session_timeout": SESSION}}


async def _moved(broker: Broker, folder: Path) -> Run:
    """A second gateway comes, and the first is killed; a third comes, and the second leaves."""
    run = Run()
    async with site(broker, folder, _settings(), _config()) as place:
        one, two, three = (place.gateway(name) for name in ("one", "two", "three"))
        async with one:
            await _shares(run, one)
            await place.polled()
            place.sandbox.pbx.set_rate(60)
            first = await place.members()
            async with two:
                await _shares(run, one, two)
                await place.polled(ACCOUNTS[0])
                await one.kill()
                await place.miss(first)
                async with three:
                    await _shares(run, two, three)
                    await two.stop()
                    await _shares(run, three)
                    await place.polled()
                    await _finish(run, place, three)
        run.mishaps = one.mishaps() + two.mishaps() + three.mishaps()
    return run


async def _slept(broker: Broker, folder: Path) -> Run:
    """A gateway sleeps for longer than its session and wakes up as if nothing had been; then a stranger takes its ids."""
    run = Run()
    async with site(broker, folder, _settings(), _config()) as place:
        one, two = place.gateway("one"), place.gateway("two")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(one)
            first = await place.members()
            await stack.enter_async_context(two)
            await _shares(run, one, two)
            await place.polled()
            place.sandbox.pbx.set_rate(60)
            await place.polled(ACCOUNTS[0])
            os.kill(one.pid, signal.SIGSTOP)
            await place.miss(first)
            try:
                await _shares(run, two)
                # Whoever wakes up now comes within the new owner's interval.
                await place.polled()
            finally:
                os.kill(one.pid, signal.SIGCONT)
            await _shares(run, one, two)
            for shard in {shard_of(account, SHARDS) for account in ACCOUNTS}:
                async with transactional(broker.bootstrap, f"{place.config.kafka.prefix}-shard-{shard}"):
                    pass

            def fenced() -> int:
                """How often a shard saw that it was fenced off, which it does when it has something to commit."""
                return one.log().count("shard starts anew") + two.log().count("shard starts anew")

            await eventually(lambda: fenced() >= SHARDS, 60.0)
            # Who was fenced waits for a session, in which the group would take the shard from a former owner.
            await place.polled(times=2, pause=2 * SESSION)
            await _finish(run, place, one, two)
            run.fenced = fenced()
        run.mishaps = one.mishaps() + two.mishaps()
    return run


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """Both scenarios on every broker."""
    return run_on_each(brokers, tmp_path_factory.mktemp("ownership"), moved=_moved, slept=_slept)


@pytest.fixture
def moved(runs: Runs[Run], broker_name: str) -> Run:
    """The gateways that came and went, on one broker."""
    return runs.of(broker_name, "moved")


@pytest.fixture
def slept(runs: Runs[Run], broker_name: str) -> Run:
    """The gateways of which one slept, on one broker."""
    return runs.of(broker_name, "slept")


def test_gateways_share_the_shards_and_take_over_all_from_one_that_goes(moved: Run) -> None:
    alone, shared, shared_again, alone_again = moved.shares
    assert alone == alone_again == [SHARDS]
    assert shared == shared_again == [SHARDS // 2] * 2


def test_events_are_told_once_across_moves(moved: Run) -> None:
    assert moved.told_all_once(), moved.report


def test_a_new_owner_never_asks_within_the_interval_of_the_former(moved: Run) -> None:
    assert moved.rate_limited == 0


def test_moves_leave_nothing_behind(moved: Run) -> None:
    assert moved.mishaps == []


def test_a_gateway_that_slept_through_its_session_tells_nothing_twice(slept: Run) -> None:
    assert slept.shares[1] == [SHARDS]
    assert slept.told_all_once(), slept.report


def test_a_gateway_that_slept_through_its_session_asks_nothing_in_the_new_owners_interval(slept: Run) -> None:
    assert slept.rate_limited == 0


def test_a_fenced_shard_starts_anew(slept: Run) -> None:
    assert slept.fenced >= SHARDS


def test_fencing_leaves_nothing_behind(slept: Run) -> None:
    assert slept.mishaps == []
