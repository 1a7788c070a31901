"""Faults by probability and schedule, late rows, clocks set while it runs, virtual time, and the ledger as JSON lines."""

import asyncio
import contextlib
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec
import pytest

from sandbox.clock import VirtualClock
from sandbox.faults import FaultRule, Faults, Trouble
from sandbox.ledger import LedgerRecord
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings
from tests.support.waiting import eventually

KEYS = [KeySpec("1000_demo", "demo"), KeySpec("2000_demo", "demo")]


async def has_arrived(api):
    """A request has reached the limiter."""
    return (await api.admin("stats"))["lanes"]


async def put_rules(api, *rules):
    answer = await api.put("fault-rules", [{"account": 1000, **rule} for rule in rules])
    assert answer.status == 200, answer.text
    return answer.json


async def ask(api, path="/v1/calls/active", **query):
    api.clock.advance(5)
    return await api.get(path, **query)


async def test_by_probability(start):
    api = await start(keys=KEYS)
    await put_rules(api, {"kind": "error500", "probability": 0.3, "url": "active"})
    statuses = [(await ask(api)).status for _ in range(200)]
    assert 30 <= statuses.count(500) <= 90
    assert statuses.count(200) == 200 - statuses.count(500)
    assert {(await ask(api, key="2000_demo")).status for _ in range(20)} == {200}
    assert {(await ask(api, "/v1/users")).status for _ in range(20)} == {200}
    assert await put_rules(api) == []
    assert {(await ask(api)).status for _ in range(20)} == {200}


async def test_by_schedule_429_in_bursts(api):
    # Asked every 5 s: two in a burst, four free.
    burst = {"kind": "error429", "start_seconds": 12, "for_seconds": 10, "every_seconds": 30}
    await put_rules(api, burst)
    statuses = [(await ask(api)).status for _ in range(14)]
    assert statuses == [200, 200, 429, 429, 200, 200, 200, 200, 429, 429, 200, 200, 200, 200]


async def test_an_empty_list_for_a_moment(api):
    api.pbx.place_call(1000, "400", "401", "internal", 600_000)
    await put_rules(api, {"kind": "empty_list", "url": "active", "for_seconds": 10.5})
    assert [len((await ask(api)).data) for _ in range(4)] == [0, 0, 1, 1]


async def test_ordered_faults_come_before_rules(api):
    await put_rules(api, {"kind": "error500"})
    await api.put("faults", {"account": 1000, "url": "active", "kind": "error429"})
    assert [(await ask(api)).status for _ in range(2)] == [429, 500]


async def test_a_delayed_answer_tells_of_when_it_was_asked(api):
    await put_rules(api, {"kind": "delay", "delay_ms": [150, 150]})
    asked = asyncio.create_task(api.get("/v1/calls/active"))
    await eventually(lambda: has_arrived(api), 5)
    api.pbx.place_call(1000, "400", "401", "internal", 60_000)
    assert (await asked).data == []


async def test_a_delay_ends_when_the_sandbox_does(api):
    await put_rules(api, {"kind": "delay", "delay_ms": [600_000, 600_000]})
    asked = asyncio.create_task(api.get("/v1/calls/active"))
    await eventually(lambda: has_arrived(api), 5)
    async with asyncio.timeout(20):
        await api.server.__aexit__(None, None, None)
        with contextlib.suppress(aiohttp.ClientConnectionError):
            assert (await asked).data == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "explode"},
        {"kind": "drop", "account": 7},
        {"kind": "drop", "url": "nothing"},
        {"kind": "drop", "probability": 1.1},
        {"kind": "drop", "start_seconds": -1},
        {"kind": "drop", "for_seconds": 0},
        {"kind": "drop", "every_seconds": 5},
        {"kind": "drop", "for_seconds": 6, "every_seconds": 5},
        {"kind": "delay", "delay_ms": [5, 4]},
        {"kind": "delay", "delay_ms": [0, 600_001]},
    ],
)
async def test_a_wrong_rule_changes_nothing(api, wrong):
    before = await put_rules(api, {"kind": "error500"})
    answer = await api.put("fault-rules", [{"account": 1000, **wrong}])
    assert (answer.status, list(answer.json)) == (400, ["error"])
    assert await api.admin("fault-rules") == before


def test_one_seed_one_run_of_faults_and_delays_add_up():
    def run(seed):
        faults = Faults(VirtualClock(), seed)
        faults.set_rules(
            [FaultRule(account=1, kind="drop", probability=0.5), *[FaultRule(account=1, kind="delay")] * 2]
        )
        return [faults.take(1, "active") for _ in range(50)]

    assert run(1) == run(1) != run(2)
    assert all(200 <= trouble.delay_ms <= 4_000 for trouble in run(1))
    assert {trouble.kind for trouble in run(1)} == {"drop", None}
    assert Faults(VirtualClock(), 1).take(1, "active") == Trouble(None)


async def test_completed_rows_come_late(api):
    assert (await api.put("late", {"account": 1000, "shortest_ms": 30_000, "longest_ms": 90_000})).status == 200
    for _ in range(20):
        api.pbx.place_call(1000, "74950000001", "400", "incoming", 1_000, 1_000)
    api.clock.advance(2)
    counts = []
    for _ in range(19):
        rows = (await api.get("/v1/calls/complete")).data
        counts.append(len(rows))
        assert len((await api.get("/v1/users/400/records")).data) == len(rows)
        api.clock.advance(5)
    assert set(counts[:6]) == {0}
    assert counts == sorted(counts)
    assert len(set(counts)) > 5
    assert counts[-1] == 20
    assert {record.ended_at - record.started_at for record in api.pbx.ledger.records()} == {2_000}
    assert await api.admin("late") == [{"account": 1000, "shortest_ms": 30_000, "longest_ms": 90_000}]


async def test_a_clock_is_set_while_it_runs_for_one_account(start):
    api = await start(keys=KEYS)
    api.pbx.place_call(1000, "400", "401", "internal", 1_000)
    api.clock.advance(5)
    assert (await api.put("skew", {"account": 1000, "seconds": -90.5})).status == 200
    api.pbx.place_call(1000, "400", "401", "internal", 1_000)
    api.pbx.place_call(2000, "400", "401", "internal", 1_000)
    api.clock.advance(5)
    answer = await api.get("/v1/calls/complete")
    # What was written before keeps its time.
    assert [row["call_start_time"][11:] for row in answer.data] == ["12:00:00", "11:58:34"]
    other = await api.get("/v1/calls/complete", key="2000_demo")
    assert [row["call_start_time"][11:] for row in other.data] == ["12:00:05"]
    dates = [parsedate_to_datetime(one.headers["Date"]) for one in (answer, other)]
    assert (dates[1] - dates[0]).total_seconds() == 91
    assert await api.admin("skew") == [{"account": 1000, "seconds": -90.5}, {"account": 2000, "seconds": 0.0}]
    refused = await api.get("/v1/calls/complete", key="9" * 5_000)
    assert refused.failure == 403
    assert refused.headers["Date"] == other.headers["Date"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("skew", {"account": 7, "seconds": 1}),
        ("skew", {"account": 1000, "seconds": 1e9}),
        ("late", {"account": 7, "shortest_ms": 0, "longest_ms": 0}),
        ("late", {"account": 1000, "shortest_ms": 2, "longest_ms": 1}),
        ("late", {"account": 1000, "shortest_ms": 0, "longest_ms": 3_600_001}),
        ("clock", {"advance": -1}),
        ("clock", {"advance": 1e9}),
        ("clock", {}),
    ],
)
async def test_wrong_orders_are_refused(api, path, body):
    answer = await api.put(path, body)
    assert (answer.status, list(answer.json)) == (400, ["error"])


async def test_a_day_of_calls_over_http(start):
    api = await start(calls_per_minute=10)
    before = await api.admin("clock")
    assert before["virtual"] is True
    answer = await api.put("clock", {"advance": 86_400})
    assert answer.json == {"now": before["now"] + 86_400_000, "virtual": True}
    assert (await api.admin("health"))["now"] == answer.json["now"]
    assert len(await api.admin("ledger")) > 13_000
    rows = (await api.get("/v1/calls/complete", days=1)).data
    assert len(rows) > 13_000


async def test_the_machine_s_clock_is_not_advanced():
    async with SandboxServer(SandboxSettings(KEYS)) as server, aiohttp.ClientSession() as session:
        async with session.put(f"{server.url}/_sandbox/clock", json={"advance": 1}) as response:
            assert response.status == 400
        async with session.get(f"{server.url}/_sandbox/clock") as response:
            assert (await response.json())["virtual"] is False


async def test_the_ledger_as_json_lines_over_http(start):
    api = await start(keys=KEYS, calls_per_minute=600)
    api.clock.advance(60)
    for account in (None, 1000):
        query = {} if account is None else {"account": account}
        answer = await api.request("GET", "/_sandbox/ledger", key=None, format="jsonl", **query)
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        lines = answer.text.splitlines()
        assert len(lines) > 100
        assert [msgspec.json.decode(line, type=LedgerRecord) for line in lines] == api.pbx.ledger.records(account)
    assert (await api.admin("ledger", format="json")) == await api.admin("ledger")
    assert (await api.request("GET", "/_sandbox/ledger", key=None, format="xml")).status == 400
    assert (await api.request("GET", "/_sandbox/ledger", key=None, format="jsonl", account=9)).text == ""
