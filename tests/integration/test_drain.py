"""Told to end under load, each service ends in time and with 0, leaves nothing open, and nothing is lost."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from rich.console import Console

from tests.chaos.drain import FIRST_ACCOUNT, drain
from tests.chaos.drain_judge import Facts, Request, Stop, fates
from tests.chaos.drain_report import Options, show
from tests.integration.conftest import need_apache_kafka

# Of each service; in the second the brokers hang as the gateway is told.
SHORT = Options(stops=2)
PARTITION = TopicPartition("t", 0)


@pytest.mark.kafka
@pytest.mark.timeout(900)
async def test_stops_under_load_lose_nothing_and_leave_nothing_open(tmp_path: Path) -> None:
    need_apache_kafka()
    outcome = await drain(SHORT, tmp_path, lambda _: None)
    text = io.StringIO()
    show(Console(file=text, width=160), outcome)
    sys.stdout.write(f"\n{text.getvalue()}")
    assert outcome.findings == {}
    assert [(stop.service, stop.hung, stop.code) for stop in outcome.stops] == [
        ("gateway", False, 0),
        ("streams", False, 0),
        ("gateway", True, 0),
        ("streams", False, 0),
    ]
    found = {fate.what: fate.in_flight for fate in outcome.fates}
    # Nothing is shown of what was not in flight.
    for what in ("polls", "commands", "open transactions", "attempts under way", "deliveries queued"):
        assert found[what] > 0, found
    assert all(stop.figures["backlog_records"] > 0 for stop in outcome.stops if stop.service == "streams")
    assert outcome.calls > 20
    _logs_say_of_whom(tmp_path / "site")


def _logs_say_of_whom(folder: Path) -> None:
    """Lines of both services are JSON, and say which account, call, endpoint and attempt they are of."""
    lines = {
        service: [json.loads(line) for line in (folder / f"{service}.log").read_text().splitlines()]
        for service in ("gateway", "streams")
    }
    for line in (*lines["gateway"], *lines["streams"]):
        assert {"event", "level", "logger", "timestamp"} <= set(line)
    failed = [line for line in lines["streams"] if line["event"] == "an attempt failed"]
    assert {line["endpoint"] for line in failed} >= {"flaky"}
    for line in failed:
        assert line["account"] >= FIRST_ACCOUNT
        assert line["delivery"].startswith(f"{line['call_id']}-")
        assert line["attempt"] >= 1
        assert line["outcome"] != "delivered"
    assert any(line["account"] >= FIRST_ACCOUNT for line in lines["gateway"] if line["event"] == "command done")


def facts(**given: Any) -> Facts:
    """One event for one endpoint, delivered at 90, and what is `given` instead."""
    return Facts(
        **{
            "endpoints": ["e"],
            "sent": {},
            "results": [],
            "twice": [],
            "events": {"c-1": 50},
            "deliveries": [("c-1-e", 60)],
            "attempts": [("c-1-e", 80)],
            "requests": [Request("e", "c-1-e", 80, 90, 200)],
            "committed": frozenset(),
            **given,
        }
    )


def found(stop: Stop, known: Facts, what: str) -> tuple[int, int, int, int | None, int | None]:
    """How many of a kind were in flight; ended by who was told, by its successor, done again, lost."""
    (fate,) = [one for one in fates([stop], known) if one.what == what]
    return fate.in_flight, fate.ended, fate.after, fate.again, fate.lost


@pytest.mark.parametrize(
    ("told", "ended", "requests", "expected"),
    [
        (70, 95, [Request("e", "c-1-e", 80, 90, 200)], (1, 1, 0, 0, 0)),
        (70, 75, [Request("e", "c-1-e", 80, 90, 200)], (1, 0, 1, 0, 0)),
        (70, 75, [Request("e", "c-1-e", 80, 90, 200), Request("e", "c-1-e", 91, 92, 200)], (1, 0, 1, 1, 0)),
        (70, 95, [Request("e", "c-1-e", 80, 90, 503)], (1, 0, 0, 0, 1)),
        (70, 95, [Request("e", "c-1-e", 80, None, 0)], (1, 0, 0, 0, 1)),
        (91, 95, [Request("e", "c-1-e", 80, 90, 200)], (0, 0, 0, None, None)),
        (55, 59, [Request("e", "c-1-e", 80, 90, 200)], (0, 0, 0, None, None)),
    ],
)
def test_the_judge_tells_what_became_of_a_delivery(
    told: int, ended: int, requests: list[Request], expected: tuple[int, ...]
) -> None:
    stop = Stop(service="streams", told_at=told, ended_at=ended, code=0)
    assert found(stop, facts(requests=requests), "deliveries queued") == expected


def test_the_judge_tells_an_attempt_that_was_cut_off_from_one_that_ended() -> None:
    stop = Stop(service="streams", told_at=85, ended_at=95, code=0, attempts=("c-1-e",))
    assert found(stop, facts(), "attempts under way") == (1, 1, 0, 0, 0)
    twice = [Request("e", "c-1-e", 80, 90, 200), Request("e", "c-1-e", 120, 121, 200)]
    cut = facts(attempts=[("c-1-e", 120)], requests=twice)
    assert found(stop, cut, "attempts under way") == (1, 0, 1, 1, 0)
    assert found(stop, facts(requests=[]), "attempts under way")[4] == 1


def test_the_judge_tells_what_became_of_an_event_and_of_a_command() -> None:
    stop = Stop(service="streams", told_at=55, ended_at=58, code=0)
    assert found(stop, facts(), "call events not yet expanded") == (1, 0, 1, 0, 0)
    assert found(stop, facts(deliveries=[]), "call events not yet expanded") == (1, 0, 0, 0, 1)
    stop = Stop(service="gateway", told_at=55, ended_at=58, code=0)
    last = {"command_id": "x", "status": "succeeded", "reconciled": False, "ms": 57}
    assert found(stop, facts(sent={"x": 50}, results=[last]), "commands") == (1, 1, 0, 0, 0)
    assert found(stop, facts(sent={"x": 50}, twice=["x call.originate: 2 times"]), "commands") == (1, 0, 0, 1, 1)


def test_the_judge_tells_a_transaction_that_was_committed_from_one_that_was_not() -> None:
    stop = Stop(service="gateway", told_at=55, ended_at=58, code=0, transactions=((PARTITION, 3), (PARTITION, 9)))
    known = facts(committed=frozenset({(PARTITION, 3)}))
    assert found(stop, known, "open transactions") == (2, 1, 1, None, None)


def test_the_judge_tells_requests_that_were_cut_off() -> None:
    stop = Stop(service="gateway", told_at=55, ended_at=58, code=0, polls=3, polls_cut=2, orders=1, orders_cut=2)
    assert found(stop, facts(), "polls") == (3, 1, 2, None, None)
    assert found(stop, facts(), "commands on the wire") == (2, 0, 2, None, None)
