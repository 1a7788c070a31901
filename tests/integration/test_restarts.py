"""What stands on Kafka survives the gateway: stopped and started again, and killed in the middle of its work."""

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.dev.brokers import ApacheKafka, Broker, EmbeddedBroker
from sandbox.audit import Report
from sandbox.settings import SandboxSettings, TrafficProfile
from tests.support.gateway import Runs, Site, keys_of, lives, run_on_each, site
from tests.support.waiting import eventually

KILLS = 4
KILLED = [2100, 2103, 2105]  # in a shard each
# Short calls, so that the last ones are over soon.
# Without twins: which of two calls that nothing tells apart was answered can be guessed wrongly.
TRAFFIC = TrafficProfile(
    ring_ms=(500, 3_000), talk_ms=(500, 7_000), no_answer_ms=(1_000, 6_000), talk_mean_ms=3_000, twin_share=0
)


@dataclass
class Run:
    """What became of the calls."""

    report: Report
    lives: dict[str, list[dict[str, Any]]]
    before: set[str]
    rate_limited: int
    mishaps: list[str]
    stopped_in: float = 0.0


async def _stopped(broker: Broker, folder: Path) -> Run:
    """One gateway stopped while a call runs; other calls begin and end before the next starts."""
    account = 2000
    settings = SandboxSettings(keys=keys_of([account, account + 1]), profile="live")
    async with site(broker, folder, settings) as place:
        pbx = place.sandbox.pbx
        first = place.gateway()
        async with first:
            await place.polled()
            pbx.place_call(account, "79161110001", "401", "incoming", 1_000, 24_000)
            pbx.place_call(account, "404", "79161110004", "outgoing", 300, None, "BUSY")
            await place.polled()

            async def told() -> bool:
                """the long call's answer and the short one's end were told"""
                return {"call.answered", "call.ended"} <= {one.event["type"] for one in await place.told()}

            await eventually(told, interval=0.2)
            await first.stop()
        before = {one.event["id"] for one in await place.told()}
        pbx.place_call(account, "404", "79161110004", "outgoing", 300, None, "BUSY")
        pbx.place_call(account, "405", "79161110005", "outgoing", 400, 800)
        pbx.place_call(account + 1, "406", "79161110006", "outgoing", 400, 800)
        await eventually(lambda: pbx.active_count(account) == 1 and pbx.active_count(account + 1) == 0)
        second = place.gateway("second")
        async with second:
            await place.all_told()
            await second.stop()
        return Run(
            report=await place.report(),
            lives=lives(await place.told()),
            before=before,
            rate_limited=place.sandbox.stats.report().rate_limited,
            mishaps=first.mishaps() + second.mishaps(),
        )


async def _killed(broker: Broker, folder: Path) -> Run:
    """A gateway killed again and again under steady traffic."""
    rng = random.Random(str(folder.name))
    settings = SandboxSettings(keys=keys_of(KILLED), profile="live", traffic=TRAFFIC)
    # A member that was killed is missed for as long as its session. The embedded broker allows no shorter one.
    config = {"kafka": {"session_timeout": 6 if isinstance(broker, EmbeddedBroker) else 2}}
    async with site(broker, folder, settings, config) as place:
        gateway = place.gateway()
        async with gateway:
            await place.polled()
            place.sandbox.pbx.set_rate(60)
            for kill in range(KILLS):
                if kill != 2:  # the third falls into the start
                    await _some_polls(place, rng.randint(1, 4))
                # Where in a poll, a diff or a commit that falls is left to chance.
                await asyncio.sleep(rng.uniform(0, 0.05))
                await gateway.kill()
                await place.miss(await place.members())
                gateway.spawn()
            await place.polled()
            place.sandbox.pbx.stop_placing()
            await place.all_told()
            await gateway.stop()
        return Run(
            report=await place.report(),
            lives=lives(await place.told()),
            before=set(),
            rate_limited=place.sandbox.stats.report().rate_limited,
            mishaps=gateway.mishaps(),
        )


async def _brokerless(shared: Broker, folder: Path) -> Run:
    """The broker goes while calls run, and comes back; then it goes again, and the gateway is told to stop."""
    account = 2200
    settings = SandboxSettings(keys=keys_of([account]), profile="live")
    own: Broker
    own = EmbeddedBroker(folder / "broker") if isinstance(shared, EmbeddedBroker) else ApacheKafka(folder / "broker")
    async with own, site(own, folder / "site", settings) as place:
        pbx = place.sandbox.pbx
        gateway = place.gateway()
        async with gateway:
            await place.polled()
            pbx.place_call(account, "79161110001", "401", "incoming", 1_000, 12_000)
            await place.polled()
            await own.stop()
            pbx.place_call(account, "404", "79161110004", "outgoing", 300, None, "BUSY")
            await eventually(lambda: pbx.active_count(account) == 0)
            await own.start()
            await place.all_told()
            report, told = await place.report(), await place.told()
            await own.stop()
            pbx.place_call(account, "405", "79161110005", "outgoing", 400, 800)
            await eventually(lambda: pbx.active_count(account) == 0)
            began = time.monotonic()
            await gateway.stop()
        return Run(
            report=report,
            lives=lives(told),
            before=set(),
            rate_limited=place.sandbox.stats.report().rate_limited,
            mishaps=[],
            stopped_in=time.monotonic() - began,
        )


async def _some_polls(place: Site, count: int) -> None:
    def asked() -> int:
        return sum(lane.accepted for lane in place.sandbox.stats.report().lanes)

    target = asked() + count
    await eventually(lambda: asked() >= target, what=f"{count} polls more", interval=0.002)


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """Every scenario on every broker."""
    folder = tmp_path_factory.mktemp("restarts")
    return run_on_each(brokers, folder, stopped=_stopped, killed=_killed, brokerless=_brokerless)


@pytest.fixture
def stopped(runs: Runs[Run], broker_name: str) -> Run:
    """The gateway that was stopped, on one broker."""
    return runs.of(broker_name, "stopped")


@pytest.fixture
def killed(runs: Runs[Run], broker_name: str) -> Run:
    """The gateway that was killed, on one broker."""
    return runs.of(broker_name, "killed")


@pytest.fixture
def brokerless(runs: Runs[Run], broker_name: str) -> Run:
    """The gateway whose broker went, of one kind."""
    return runs.of(broker_name, "brokerless")


def test_a_call_goes_on_through_a_restart_with_its_id_and_sequence(stopped: Run) -> None:
    (long,) = [life for life in stopped.lives.values() if life[0]["data"]["src"] == "79161110001"]
    assert [event["type"] for event in long] == ["call.started", "call.answered", "call.ended"]
    assert [event["data"]["sequence"] for event in long] == [1, 2, 3]
    assert [event["id"] in stopped.before for event in long] == [True, True, False]


def test_a_restart_tells_what_happened_meanwhile_and_nothing_twice(stopped: Run) -> None:
    assert stopped.report.calls == 5
    assert (stopped.report.missing, stopped.report.doubled, stopped.report.outside) == ([], [], [])
    assert stopped.rate_limited == 0
    assert stopped.mishaps == []


def test_kills_lose_nothing_and_repeat_nothing(killed: Run) -> None:
    assert killed.report.calls >= 30
    assert (killed.report.missing, killed.report.doubled, killed.report.outside) == ([], [], [])
    for life in killed.lives.values():
        assert [event["data"]["sequence"] for event in life] == [*range(1, len(life) + 1)]


def test_a_killed_gateways_successor_keeps_to_the_limits(killed: Run) -> None:
    assert killed.rate_limited == 0
    assert killed.mishaps == []


def test_a_broker_that_comes_back_is_told_what_happened_meanwhile(brokerless: Run) -> None:
    assert brokerless.report.calls == 2
    assert (brokerless.report.missing, brokerless.report.doubled, brokerless.report.outside) == ([], [], [])
    assert brokerless.rate_limited == 0


def test_a_gateway_without_a_broker_stops_when_it_is_told_to(brokerless: Run) -> None:
    assert brokerless.stopped_in < 10
