"""A day of an account as RingCloud answered it: told again it gives the same bytes, and they are true."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.contract.times import Ms
from sandbox.audit import Received, audit
from sandbox.clock import VirtualClock
from sandbox.faults import FaultRule
from sandbox.ledger import LedgerRecord
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings, TrafficProfile
from tests.unit.calls.pairing import paired
from tests.unit.calls.recording import Taken, Teller, Told, record, taken, tell

HOUR = 3_600_000
# A day of 25 hours: the third comes twice.
ZONE = "Europe/Berlin"
MIDNIGHT = int(datetime(2025, 10, 25, 22, tzinfo=UTC).timestamp()) * 1000
# Calls an hour.
TRAFFIC = [6, 6, 40, 40, 6, 2, 2, 10, 30, 50, 60, 60, 50, 30, 50, 60, 50, 40, 30, 20, 10, 6, 6, 4, 2]
TWICE = range(MIDNIGHT + 2 * HOUR, MIDNIGHT + 4 * HOUR)
SKEW: Ms = 437_400
KEY = "1000_a-day"
FAULTS = {"error500": 0.003, "truncated": 0.003, "html200": 0.003, "empty_list": 0.001}


@dataclass
class Day:
    """A recording, and what truly happened."""

    path: Path
    asked: int
    ledger: list[LedgerRecord]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A day by a server whose clock is wrong and whose answers are late, broken or missing now and then."""
    return asyncio.run(_record(tmp_path_factory.mktemp("replay") / "day.jsonl"))


async def _record(path: Path) -> Day:
    clock = VirtualClock(start=MIDNIGHT)
    settings = SandboxSettings(
        [KeySpec(KEY, KEY)],
        seed=5,
        profile="live",
        time_zone=ZONE,
        clock_skew_seconds=SKEW / 1000,
        # Without twins: which of two calls that nothing tells apart was answered can be guessed wrongly.
        traffic=TrafficProfile(twin_share=0, talk_ms=(1_000, 900_000), talk_mean_ms=60_000),
    )
    asked = 0
    async with SandboxServer(settings, clock=clock) as server:
        server.pbx.set_late(1000, 0, 8_000)
        server.faults.set_rules([FaultRule(account=1000, kind=kind, probability=p) for kind, p in FAULTS.items()])
        with path.open("wb") as file:
            for hour, calls in enumerate(TRAFFIC):
                server.pbx.set_rate(calls / 60)
                until = MIDNIGHT + (hour + 1) * HOUR
                asked += await record(file, server, clock, until, zone=ZONE, key=KEY)
            server.pbx.stop_placing()
            asked += await record(file, server, clock, until + 20 * 60_000, zone=ZONE, key=KEY)
        return Day(path, asked, server.pbx.ledger.records())


@pytest.fixture(scope="module")
def told(day: Day) -> list[Told]:
    """The events of the day."""
    return tell(day.path, ZONE)


def kafka(events: list[Told]) -> list[bytes]:
    return [event.kafka for event in events]


def test_the_day_was_one(day: Day) -> None:
    """Both lists were asked for every five seconds, some answers are missing, some can't be read, most changed nothing."""
    answers: list[Taken] = list(taken(day.path))
    assert day.asked > 2 * 25 * 3_600 / 5.3
    assert 0.98 * day.asked < len(answers) < day.asked
    assert sum("Bad Gateway" in (one.body or "") for one in answers) > 20
    assert len(day.ledger) > 500
    assert sum(record.started_at in TWICE for record in day.ledger) > 50


def test_told_again_it_gives_the_same_bytes(day: Day, told: list[Told]) -> None:
    assert kafka(tell(day.path, ZONE)) == kafka(told)


@pytest.mark.parametrize("seed", ["1", "4711"])
def test_told_by_another_process_it_gives_the_same_bytes(day: Day, told: list[Told], seed: str) -> None:
    """Neither the order of sets nor the machine's zone is in them."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.unit.calls.recording", str(day.path), ZONE],
        env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "Pacific/Chatham"},
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert run.stdout.splitlines() == kafka(told)


def test_a_state_put_away_whole_and_taken_up_again_tells_the_same(day: Day, told: list[Told]) -> None:
    rng = random.Random(1)

    def sometimes(teller: Teller) -> None:
        if rng.random() < 0.05:
            teller.reload()

    assert kafka(tell(day.path, ZONE, sometimes)) == kafka(told)


def test_restarts_at_any_moment_tell_the_truth(day: Day) -> None:
    rng = random.Random(1)

    def sometimes(teller: Teller) -> None:
        if rng.random() < 0.02:
            teller.restart()

    true_to(day, tell(day.path, ZONE, sometimes))


def test_the_ledger_agrees(day: Day, told: list[Told]) -> None:
    true_to(day, told)


def true_to(day: Day, events: list[Told]) -> None:
    """Judged by the sandbox, and where the hour comes twice, by bounds: an estimate may be an hour off there."""
    received = [Received(event.structured, event.observed_at) for event in events]
    lives: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in received:
        lives[one.event["subject"]].append(one.event)
    assert len(lives) == len(day.ledger)
    owner = paired(day.ledger, lives)
    assert len(owner) == len(day.ledger)
    twice = {record.id for record in day.ledger if record.started_at + SKEW in TWICE}
    report = audit(
        [record for record in day.ledger if record.id not in twice],
        [one for one in received if owner[one.event["subject"]] not in twice],
    )
    assert (report.missing, report.doubled, report.outside) == ([], [], [])
