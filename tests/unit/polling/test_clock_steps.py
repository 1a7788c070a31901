"""A clock of the system's that is set while the gateway polls: noticed, and of no harm to the calls of that time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from gateway.calls.differ import Channels, Diff, Rules
from gateway.contract.events import CallEvent
from gateway.contract.times import Ms, millis
from gateway.contract.topics import Topics
from gateway.polling.poller import Poller
from gateway.polling.store import Memory, remembered
from gateway.ringcloud import Http, Limiter, RingCloud
from gateway.runtime.clock import ClockSteps
from gateway.runtime.committer import Record
from gateway.runtime.shards import Handles
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings
from tests.support.waiting import eventually

MS = 1_000_000
# One whose polls begin soon.
ACCOUNT = 1574
KEY = KeySpec("1574_one", "first")


class Machine:
    """A machine's two clocks, ns. The wall clock can be set; each reading takes a while."""

    def __init__(self, reading: int = 200) -> None:
        self.now = 5 * 1_000_000_000
        self.ahead = 1_700_000_000 * 1_000_000_000
        self.reading = reading

    def steady(self) -> int:
        self.now += self.reading
        return self.now

    def wall(self) -> int:
        self.now += self.reading
        return self.now + self.ahead


@pytest.mark.parametrize("by", [10, 11, 1_500, -11, -1_500, 600_000, -600_000, 86_400_000])
def test_a_step_is_noticed_once_to_the_millisecond(by: int) -> None:
    machine = Machine()
    clock = ClockSteps(machine.wall, machine.steady)
    machine.now += 3_600_000 * MS
    assert clock.noticed() == 0
    machine.ahead += by * MS + 300_000
    assert clock.noticed() == by
    assert clock.noticed() == 0


def test_steps_that_come_one_by_one_add_up() -> None:
    machine = Machine()
    clock = ClockSteps(machine.wall, machine.steady)
    found = []
    for _ in range(100):
        machine.ahead += 3 * MS
        found.append(clock.noticed())
    assert sum(found) in range(300 - 10, 301)


def test_a_reading_that_was_interrupted_is_no_step() -> None:
    machine = Machine()
    clock = ClockSteps(machine.wall, machine.steady)
    for reading in (50 * MS, 4_000 * MS, 200):
        machine.reading = reading
        assert clock.noticed() == 0


def test_the_system_s_own_clocks_go_together() -> None:
    assert ClockSteps().noticed() == 0


class Log:
    """What a poller hands in to be committed; its events, with what the clock was ahead then."""

    def __init__(self) -> None:
        self.ahead: Ms = 0
        self.events: list[tuple[dict[str, str], dict[str, Any], Ms]] = []
        self.kept: dict[str, bytes] = {}

    async def commit(self, records: Sequence[Record], offsets: Mapping[TopicPartition, int] | None = None) -> None:
        for record in records:
            if record.topic == Topics("t").calls.name:
                assert record.value is not None
                headers = {name: raw.decode() for name, raw in record.headers}
                self.events.append((headers, msgspec.json.decode(record.value), self.ahead))
            elif record.value is None:
                self.kept.pop(record.key.decode().partition("/")[2], None)
            else:
                self.kept[record.key.decode().partition("/")[2]] = record.value

    def told(self) -> list[str]:
        return [headers["ce_type"].removeprefix("call.") for headers, _, _ in self.events]


class NoCommands:
    """Commands that have started no call."""

    def told(self, account: int, diff: Diff) -> tuple[Sequence[CallEvent], Sequence[Record]]:
        return diff.events, ()

    def ringing(self, account: int, channels: Channels) -> Sequence[Record]:
        return ()


@pytest.mark.parametrize(("by", "large"), [(600_000, 1 << 20), (-600_000, 0)])
async def test_a_call_goes_on_through_a_step_of_the_system_s_clock(
    by: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether answers are decoded beside the event loop or not."""
    monkeypatch.setattr("gateway.polling.poller._LARGE", large)
    log = Log()

    def wall() -> int:
        return time.time_ns() + log.ahead * MS

    async with (
        SandboxServer(SandboxSettings([KEY], calls_per_minute=0)) as server,
        Http(wall=lambda: wall() // MS) as http,
        RingCloud(KEY.key, KEY.password, base_url=server.url, http=http, limiter=Limiter()) as api,
    ):
        handles = Handles(0, log, Topics("t"), {})  # type: ignore[arg-type] # all of a committer that a poller knows
        zone = ZoneInfo("UTC")
        poller = Poller(
            Rules(account=ACCOUNT),
            [api],
            zone,
            30_000,
            handles,
            Memory(),
            NoCommands(),
            asleep=60.0,
            clock=ClockSteps(wall),
        )
        with capture_logs() as logs:
            task = asyncio.create_task(poller.run())
            try:
                await eventually(lambda: {"mark"} <= log.kept.keys(), 30, "both lists were read")
                server.pbx.place_call(ACCOUNT, "400", "74950001122", "outgoing", ring_ms=12_000)
                await eventually(lambda: log.told() == ["started"], 30, "it has started")
                log.ahead += by
                await eventually(lambda: log.told() == ["started", "ended"], 60, "it has ended")
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        (call,) = server.pbx.ledger.records()
    assert call.ended_at is not None
    assert [line["seconds"] for line in logs if line["event"] == "the system's clock was set"] == [by / 1000]
    for (headers, data, ahead), true in zip(log.events, (call.started_at, call.ended_at), strict=True):
        assert millis_of(data["not_before"]) <= true + ahead <= millis_of(data["not_after"])
        assert data["evidence"] != "absence"
        assert headers["ce_subject"] == log.events[0][0]["ce_subject"]
    assert not any(data["ambiguous"] for _, data, _ in log.events)
    # What was written is by the clock as it is now.
    state = remembered(log.kept).state
    assert state is not None
    assert state.mark.active is not None
    assert abs(state.mark.active.sent - call.ended_at - by) < 120_000


def millis_of(text: str) -> Ms:
    return millis(datetime.fromisoformat(text))
