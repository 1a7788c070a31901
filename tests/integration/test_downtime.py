"""What happened while the gateway was down, up to seven days back, is told of once when it is up again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls.differ import Rules, Window
from gateway.contract.events import encode_data, headers_of
from gateway.contract.notices import GapDetected
from gateway.dev.brokers import Broker
from gateway.polling.gaps import days_since, gap_before
from gateway.ringcloud.rows import decode_completed
from gateway.runtime.kafka import ensure_topics
from gateway.runtime.shards import shard_of
from sandbox.audit import Report
from sandbox.clock import VirtualClock
from sandbox.replies import success
from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings
from tests.support.gateway import Runs, Site, keys_of, lives, run_on_each, site
from tests.support.kafka import transactional
from tests.support.waiting import eventually
from tests.unit.calls.hostile import DAY, Outcome, Server, Truth, close, steady, wrong
from tests.unit.calls.pairing import ms
from tests.unit.calls.recording import Taken, Teller, Told

MINUTE, HOUR = 60_000, 3_600_000
# When and where clocks were set in the middle of the downtime, or not.
PLACES = [
    ("Europe/Berlin", datetime(2025, 10, 26, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2025, 3, 9, 7, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2025, 4, 5, 15, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2025, 6, 1, tzinfo=UTC)),
]


@dataclass
class Down:
    """A server, and when nobody asked it: from `since`, until `until`; true times."""

    server: Server
    since: int
    until: int


@st.composite
def downs(draw: st.DrawFn, shortest: int, longest: int) -> Down:
    zone, change = draw(st.sampled_from(PLACES))
    middle = int(change.timestamp() * 1000) + draw(st.integers(-36 * HOUR, 36 * HOUR))
    span = draw(st.integers(shortest, longest))
    since, until = middle - span // 2, middle + span // 2
    calls: list[Truth] = []
    for n in range(draw(st.integers(1, 12))):
        src, dst = draw(st.sampled_from([("101", "202"), ("79001", "400")])) if n % 2 else (str(100 + n), "202")
        at = draw(st.one_of(st.integers(since - 20_000, since), st.integers(since, until)))
        ring = draw(st.integers(1, 20_000))
        talk = draw(st.one_of(st.none(), st.integers(0, 60_000), st.integers(0, 8 * HOUR)))
        answer = None if talk is None else at + ring
        call = Truth(str(n), src, dst, at, answer, at + ring + (talk or 0))
        if not close([*calls, call]):
            calls.append(call)
    skew = draw(st.integers(-600_000, 600_000))
    server = Server(zone, calls, steady(skew), live=draw(st.booleans()), calendar=draw(st.booleans()))
    return Down(server, since, until)


def told_of(down: Down) -> tuple[Outcome, list[GapDetected]]:
    """What a gateway tells that was up for half a minute before, and is up afterwards until every call is over."""
    server = down.server
    zone = ZoneInfo(server.zone)
    teller = Teller(Rules(account=1000), zone)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    gaps: list[GapDetected] = []

    def ask(sent: int) -> None:
        window = Window(sent, sent + 150)
        made, date = sent + 70, server.date(sent + 70)
        told = teller.take(Taken("active", window.sent, window.received, date, None), server.active(made))
        mark = teller.mark
        body = server.completed(made, days_since(mark, zone, window.sent))
        told += teller.take(Taken("completed", window.sent, window.received, date, None), body)
        if mark is not None and teller.mark is not None and teller.mark.completed == window:
            gap = gap_before(1000, mark, decode_completed(body, zone), zone, window)
            gaps.extend([gap] if gap is not None else [])
        for one in told:
            found[one.event.subject].append(one.structured)

    for sent in range(down.since - 30_000, down.since, 5_000):
        ask(sent)
    teller.heartbeat()
    teller.restart()
    over = max([down.until, *(call.ended_at for call in server.calls)])
    # What only empty lists say is believed after ten minutes, of a call that was seen a day ago.
    last = [*range(over, over + 100_000, 5_000), *range(over + 100_000, over + 700_000, 20_000)]
    for sent in [*range(down.until, down.until + 100_000, 5_000), *last]:
        ask(sent)
    return Outcome(found, teller.live()), gaps


@settings(max_examples=200, deadline=None)
@given(downs(MINUTE, 6 * DAY - HOUR))
def test_what_the_list_reaches_is_told_of_once_and_truly(down: Down) -> None:
    outcome, gaps = told_of(down)
    assert (said := wrong(down.server, outcome, excused=True)) is None, said
    assert gaps == []


@settings(max_examples=200, deadline=None)
@given(downs(6 * DAY - HOUR, 10 * DAY))
def test_what_the_list_does_not_reach_lies_in_a_gap_that_is_told_of(down: Down) -> None:
    outcome, gaps = told_of(down)
    assert len(gaps) <= 1
    for gap in gaps:
        low, high = (ms(at.isoformat()) for at in (gap.data.not_before, gap.data.not_after))
        assert low >= down.since - 10_000
        lost = [call for call in down.server.calls if low <= call.ended_at <= high]
        kept = [call for call in down.server.calls if call not in lost]
        numbers = {(call.src, call.dst) for call in lost}
        # Of numbers that may have been in the gap nothing is sure but that no more is told of than there was.
        for src, dst in numbers:
            mine = [
                life
                for life in outcome.lives.values()
                if (life[0]["data"]["src"], life[0]["data"]["dst"]) == (src, dst)
            ]
            assert len(mine) <= sum((call.src, call.dst) == (src, dst) for call in down.server.calls)
        sure = [call for call in kept if (call.src, call.dst) not in numbers]
        left = {
            subject: life
            for subject, life in outcome.lives.items()
            if (life[0]["data"]["src"], life[0]["data"]["dst"]) not in numbers
        }
        server = Server(down.server.zone, sure)
        assert (said := wrong(server, Outcome(left, outcome.live), excused=True)) is None, said
    if not gaps:
        assert (said := wrong(down.server, outcome, excused=True)) is None, said


class PastClock(VirtualClock):
    """Some days behind, advanced by hand, until it joins the machine's time."""

    def __init__(self, behind: int) -> None:
        super().__init__(start=time.time_ns() // 1_000_000 - behind)
        self._joined = False

    def now(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000 if self._joined else super().now()

    def monotonic_ns(self) -> int:
        """See Clock."""
        return time.monotonic_ns() if self._joined else super().monotonic_ns()

    def join(self) -> None:
        """Be the machine's from now on."""
        self._joined = True


@dataclass
class Run:
    """What became of the calls."""

    report: Report
    lives: dict[str, list[dict[str, Any]]]
    before: int
    placed: int
    rate_limited: int
    mishaps: list[str]


WEEKLY = 2300
BEHIND = 6 * DAY - 2 * HOUR
ZONE = "Europe/Moscow"


async def _week(broker: Broker, folder: Path) -> Run:
    """A gateway was stopped almost six days ago. What it left on Kafka then is put there as it would have been."""
    rng = random.Random(7)
    clock = PastClock(BEHIND)
    settings = SandboxSettings(keys=keys_of([WEEKLY]), profile="live", time_zone=ZONE, clock_skew_seconds=-211.7)
    async with (
        SandboxServer(settings, clock=clock) as sandbox,
        site(broker, folder, settings, {"ringcloud": {"base_url": sandbox.url}}) as given,
    ):
        place, pbx = replace(given, sandbox=sandbox), sandbox.pbx
        told, kept = _once(sandbox, clock)
        await ensure_topics(place.config.kafka)
        await _leave(place, told, kept)
        for n in range(60):
            clock.advance(rng.uniform(0, (BEHIND - HOUR) / 60_000))
            numbers = (f"7495000{rng.randrange(4):04}", "401")
            pbx.place_call(
                WEEKLY, *numbers, "incoming", rng.randint(1, 9_000), rng.choice([None, rng.randint(0, 900_000)])
            )
            if n % 20 == 0:
                # Over within a moment, and twice.
                clock.advance(30)
                pbx.place_call(WEEKLY, *numbers, "incoming", 1, 0)
        assert clock.now() < time.time_ns() // 1_000_000 - 20 * MINUTE
        clock.join()
        placed = len(pbx.ledger.records())
        async with place.gateway() as gateway:
            await place.all_told()
            await gateway.stop()
        return Run(
            report=await place.report(),
            lives=lives(await place.told()),
            before=len(told),
            placed=placed,
            rate_limited=sandbox.stats.report().rate_limited,
            mishaps=gateway.mishaps(),
        )


def _once(sandbox: SandboxServer, clock: VirtualClock) -> tuple[list[Told], dict[str, bytes]]:
    """What a gateway told in its minute, and what it kept: a call ended, another was going on."""
    teller = Teller(Rules(account=WEEKLY), ZoneInfo(ZONE))
    told: list[Told] = []
    for second in range(0, 60, 5):
        if second == 10:
            sandbox.pbx.place_call(WEEKLY, "79160000001", "401", "incoming", 2_000, 7_000)
            sandbox.pbx.place_call(WEEKLY, "79160000002", "402", "incoming", 2_000, 6 * HOUR)
            sandbox.pbx.place_call(WEEKLY, "79160000003", "403", "incoming", 40_000)
        for which, body in (
            ("active", sandbox.pbx.active_json(WEEKLY)),
            ("completed", sandbox.pbx.completed_json(WEEKLY, 1)),
        ):
            now = clock.now()
            date = (now + sandbox.pbx.skew_ms(WEEKLY)) // 1000 * 1000
            told += teller.take(Taken(which, now - 20, now + 20, date, None), success(body))  # type: ignore[arg-type]
        clock.advance(5)
    teller.heartbeat()
    return told, teller.kept


async def _leave(place: Site, told: list[Told], kept: dict[str, bytes]) -> None:
    shard = shard_of(WEEKLY, place.config.kafka.shards)
    async with (
        transactional(place.broker.bootstrap, f"{place.config.kafka.prefix}-shard-{shard}") as producer,
        producer.transaction(),
    ):
        for one in told:
            event = one.event
            await producer.send(
                place.topics.calls.name,
                key=event.subject.encode(),
                value=encode_data(event),
                headers=headers_of(event),
                timestamp_ms=one.observed_at,
            )
        for part, raw in kept.items():
            key = f"{WEEKLY}/{part}".encode()
            await producer.send(place.topics.poller_state.name, key=key, value=raw, partition=shard)


async def _minute(broker: Broker, folder: Path) -> Run:
    """A gateway is stopped while calls run, and dozens begin and end before the next one starts."""
    rng = random.Random(8)
    settings = SandboxSettings(keys=keys_of([WEEKLY]), profile="documented", time_zone=ZONE)
    async with site(broker, folder, settings) as place:
        pbx = place.sandbox.pbx

        def place_some(count: int, longest: int) -> None:
            for _ in range(count):
                numbers = (str(400 + rng.randrange(10)), f"7495000{rng.randrange(10_000):04}")
                pbx.place_call(
                    WEEKLY, *numbers, "outgoing", rng.randint(1, 900), rng.choice([None, rng.randint(0, longest)])
                )

        async with place.gateway() as first:
            await place.polled()
            place_some(10, 20_000)
            await place.polled()
            await first.stop()
        before = len(await place.told())
        for _ in range(20):
            place_some(2, 3_000)
            await asyncio.sleep(0.5)
        await eventually(lambda: pbx.active_count(WEEKLY) == 0)
        async with place.gateway("second") as second:
            place_some(5, 3_000)
            await place.all_told()
            await second.stop()
        return Run(
            report=await place.report(),
            lives=lives(await place.told()),
            before=before,
            placed=len(pbx.ledger.records()),
            rate_limited=place.sandbox.stats.report().rate_limited,
            mishaps=first.mishaps() + second.mishaps(),
        )


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """Both scenarios on every broker."""
    return run_on_each(brokers, tmp_path_factory.mktemp("downtime"), week=_week, minute=_minute)


@pytest.mark.parametrize("scenario", ["week", "minute"])
def test_all_that_happened_while_the_gateway_was_down_is_told_of_once(
    runs: Runs[Run], broker_name: str, scenario: str
) -> None:
    run = runs.of(broker_name, scenario)
    assert run.placed >= 50
    assert 0 < run.before < run.placed
    assert (run.report.missing, run.report.doubled, run.report.outside) == ([], [], [])
    assert (run.report.calls, len(run.lives)) == (run.placed, run.placed)
    assert run.rate_limited == 0
    assert run.mishaps == []


def test_calls_that_went_on_as_it_stopped_days_ago_end_under_the_ids_that_they_had(
    runs: Runs[Run], broker_name: str
) -> None:
    run = runs.of(broker_name, "week")
    (long,) = (life for life in run.lives.values() if life[0]["data"]["src"] == "79160000002")
    assert [event["type"] for event in long] == ["call.started", "call.answered", "call.ended"]
    assert [event["data"]["sequence"] for event in long] == [1, 2, 3]
    assert ms(long[2]["data"]["observed_at"]) - ms(long[1]["data"]["observed_at"]) > 5 * DAY
