"""The PBX by itself: deterministic under a seed, a Poisson process of the wanted rate, a truthful ledger."""

from collections import Counter

import msgspec
import pytest

from sandbox.clock import VirtualClock
from sandbox.ledger import LedgerRecord
from sandbox.pbx import Pbx
from sandbox.settings import KeySpec, SandboxSettings, TrafficProfile

KEYS = [KeySpec("1000_a", "x"), KeySpec("2000_b", "x")]


def run(steps: list[float], seed: int = 1, **settings) -> list[LedgerRecord]:
    clock = VirtualClock()
    pbx = Pbx(SandboxSettings(KEYS, calls_per_minute=300, seed=seed, **settings), clock)
    for step in steps:
        clock.advance(step)
        pbx.active_json(1000)
    return pbx.ledger.records()


def test_one_seed_one_history_however_often_it_is_asked():
    once = run([600])
    assert once == run([0.25] * 2_400)
    assert once == run([1.7, 598.3])
    assert once != run([600], seed=2)
    assert len({(record.account, record.started_at) for record in once}) > 2_000


def test_scripted_calls_do_not_disturb_the_traffic():
    def history(script: bool) -> list[tuple]:
        clock = VirtualClock()
        pbx = Pbx(SandboxSettings(KEYS, calls_per_minute=300), clock)
        clock.advance(30)
        if script:
            pbx.place_call(1000, "74959999999", "400", "incoming", 100)
            pbx.originate(1000, "400", "74959999999")
        clock.advance(60)
        return [
            (record.src, record.dst, record.started_at, record.ended_at)
            for record in pbx.ledger.records()
            if "74959999999" not in (record.src, record.dst)
        ]

    assert history(script=True) == history(script=False)


def test_the_traffic_is_what_the_profile_says():
    clock = VirtualClock()
    pbx = Pbx(SandboxSettings(KEYS, calls_per_minute=1_000), clock)
    clock.advance(1_200)
    pbx.stop_placing()
    clock.advance(60)
    calls = pbx.ledger.records()
    profile = TrafficProfile()
    # 20 000 arrivals, and twins on top: five standard deviations are 3.5 % of them.
    expected = 20_000 * (1 + 1.5 * profile.twin_share)
    assert abs(len(calls) - expected) < 0.035 * expected
    directions = Counter(call.direction for call in calls)
    assert abs(directions["incoming"] / len(calls) - profile.inbound) < 0.03
    assert abs(directions["internal"] / len(calls) - profile.internal) < 0.03
    outcomes = Counter(call.disposition for call in calls)
    assert set(outcomes) == {"ANSWERED", "NO ANSWER", "BUSY", "FAILED"}
    assert abs(outcomes["ANSWERED"] / len(calls) - profile.answered) < 0.03
    lengths = [call.ended_at - call.started_at for call in calls]
    assert sum(length <= 1_000 for length in lengths) > 0.04 * len(calls)
    assert sum(length <= 4_000 for length in lengths) > 0.2 * len(calls)
    assert 20_000 < max(lengths) <= 25_000
    assert min(lengths) >= 50
    same = Counter((call.account, call.src, call.dst, call.started_at // 1000) for call in calls)
    assert {2, 3} <= set(same.values())
    for call in calls:
        assert (call.answered_at is not None) == (call.disposition == "ANSWERED")
        assert call.started_at <= (call.answered_at or call.started_at) <= call.ended_at
        assert call.src != call.dst
        for side, external in ((call.src, call.direction == "incoming"), (call.dst, call.direction == "outgoing")):
            if external:
                assert side.startswith(("7495000", "7812000"))
                assert len(side) == 11
            else:
                assert 400 <= int(side) <= 409


def test_the_rate_can_be_changed_while_it_runs():
    clock = VirtualClock()
    pbx = Pbx(SandboxSettings(KEYS, calls_per_minute=600, traffic=TrafficProfile(twin_share=1.0)), clock)
    clock.advance(60)
    pbx.stop_placing()
    stopped = len(pbx.ledger.records())
    live = pbx.active_count(1000)
    assert live > 0
    clock.advance(5)
    assert len(pbx.ledger.records()) == stopped
    assert 0 < pbx.active_count(1000) < live
    clock.advance(30)
    assert pbx.active_count(1000) == pbx.active_count(2000) == 0
    assert all(record.ended_at is not None for record in pbx.ledger.records())
    pbx.set_rate(60)
    assert pbx.calls_per_minute == 60
    clock.advance(600)
    assert 1_000 < len(pbx.ledger.records()) - stopped < 2_000
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="calls_per_minute"):
            pbx.set_rate(wrong)


def test_the_ledger_tells_nothing_of_the_future():
    clock = VirtualClock()
    pbx = Pbx(SandboxSettings(KEYS), clock)
    begin = clock.now()
    name = pbx.place_call(2000, "74950000001", "400", "incoming", 1_500, 2_001)
    ahead = LedgerRecord(name, 2000, "74950000001", "400", "incoming", begin, None, None, None, None)
    clock.advance(1.499)
    assert pbx.ledger.records() == [ahead]
    clock.advance(0.001)
    answered = msgspec.structs.replace(ahead, answered_at=begin + 1_500)
    assert pbx.ledger.records() == [answered]
    clock.advance(2.001)
    ended = msgspec.structs.replace(answered, ended_at=begin + 3_501, disposition="ANSWERED")
    assert pbx.ledger.records(2000) == [ended]
    assert pbx.ledger.records(1000) == []


def test_the_ledger_as_json_lines(tmp_path):
    clock = VirtualClock()
    pbx = Pbx(SandboxSettings(KEYS, calls_per_minute=60), clock)
    clock.advance(120)
    pbx.originate(1000, "400", "401")
    clock.advance(10)
    path = tmp_path / "ledger.jsonl"
    pbx.ledger.to_jsonl(path)
    lines = path.read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=LedgerRecord) for line in lines] == pbx.ledger.records()
    starts = [msgspec.json.decode(line)["started_at"] for line in lines]
    assert starts == sorted(starts)


def test_a_script_that_contradicts_itself_is_refused():
    pbx = Pbx(SandboxSettings(KEYS), VirtualClock())
    for ring_ms, talk_ms, disposition in ((-1, None, None), (1, -1, None), (1, 1, "BUSY"), (1, None, "ANSWERED")):
        with pytest.raises(ValueError, match=r"."):
            pbx.place_call(1000, "400", "401", "internal", ring_ms, talk_ms, disposition)
    with pytest.raises(KeyError):
        pbx.place_call(3000, "400", "401", "internal", 1)


class SteppedClock(VirtualClock):
    """A wall clock that somebody sets."""

    step_ms = 0

    def now(self) -> int:
        return super().now() + self.step_ms


def test_a_wall_clock_that_is_set_back_undoes_nothing():
    clock = SteppedClock()
    pbx = Pbx(SandboxSettings(KEYS), clock)
    pbx.place_call(1000, "400", "401", "internal", 5_000)
    clock.advance(6)
    before = pbx.ledger.records(), pbx.completed_json(1000)
    clock.step_ms = -4_000
    assert (pbx.ledger.records(), pbx.completed_json(1000)) == before
    assert pbx.active_json(1000) == b"[]"


def test_thousands_of_parallel_calls_and_bounded_memory():
    clock = VirtualClock()
    pbx = Pbx(SandboxSettings(KEYS, ledger_limit=5_000), clock)
    for _ in range(5_500):
        pbx.place_call(1000, "74950000001", "400", "incoming", 60_000)
    assert pbx.active_count(1000) == 5_500
    clock.advance(60)
    assert len(msgspec.json.decode(pbx.completed_json(1000))) == 5_500
    assert len(pbx.ledger.records()) == 5_000
    clock.advance(7 * 86_400)
    pbx.place_call(1000, "400", "401", "internal", 10)
    clock.advance(1)
    assert len(msgspec.json.decode(pbx.completed_json(1000))) == 1
    assert len(pbx._accounts[1000].completed) == 1
