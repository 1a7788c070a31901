"""Phones that are offline, refuse or are silent; calls on demand: identical, instant, of hours, by the thousand."""

import msgspec
import pytest

from sandbox.clock import VirtualClock
from sandbox.ledger import OriginatedBy
from sandbox.pbx import Pbx, UnknownUserError
from sandbox.settings import KeySpec, SandboxSettings

KEYS = [KeySpec("1000_demo", "demo"), KeySpec("2000_demo", "demo")]


async def put_phone(api, **order):
    answer = await api.put("phones", {"account": 1000, "user": "400", **order})
    assert answer.status == 200, answer.text
    return answer.json


@pytest.mark.parametrize(
    ("order", "disposition", "shortest"),
    [
        ({"registered": False}, "FAILED", 0),
        ({"habit": "refuses"}, "BUSY", 1_000),
        ({"habit": "silent"}, "NO ANSWER", 4_000),
    ],
)
async def test_b_is_never_dialled_when_a_does_not_answer(api, order, disposition, shortest):
    assert await put_phone(api, **order) == {"registered": True, "habit": "answers", **order}
    assert (await api.originate("400", "74950001122")).status == 200
    legs = 0
    for _ in range(30):
        legs = max(legs, len(api.pbx.channels(1000)))
        api.clock.advance(1)
    assert legs == (0 if disposition == "FAILED" else 1)
    (record,) = api.pbx.ledger.records()
    assert (record.disposition, record.answered_at) == (disposition, None)
    assert record.originated_by == OriginatedBy("400", "74950001122", None, None)
    assert shortest <= record.ended_at - record.started_at <= 20_000
    (row,) = (await api.get("/v1/calls/complete")).data
    assert (row["disposition"], row["rec_file"] in (None, "None")) == (disposition, True)

    await put_phone(api, registered=True, habit="answers")
    assert (await api.originate("400", "74950001122")).status == 200
    api.clock.advance(60)
    assert api.pbx.ledger.records()[1].originated_by.b_dialled_at is not None


async def test_phones_are_listed_and_orders_are_checked(start):
    api = await start(keys=KEYS)
    await put_phone(api, registered=False)
    listed = await api.admin("phones")
    assert set(listed) == {"1000", "2000"}
    assert [name for name, phone in listed["1000"].items() if not phone["registered"]] == ["400"]
    assert set(await api.admin("phones", account=2000)) == {"2000"}
    for wrong in ({"account": 7}, {"user": "nobody"}, {"habit": "sings"}, {"registered": "no"}):
        answer = await api.put("phones", {"account": 1000, "user": "400", **wrong})
        assert answer.status == 400, wrong
    assert (await api.request("GET", "/_sandbox/phones", key=None, account=7)).status == 400


def test_a_phone_by_python_and_what_one_origination_overrides():
    pbx = Pbx(SandboxSettings(KEYS), clock := VirtualClock())
    pbx.set_phone(1000, "400", habit="silent")
    pbx.originate(1000, "400", "401", habit="answers", a_ring_ms=100)
    pbx.originate(1000, "401", "402", habit="refuses", a_ring_ms=700)
    clock.advance(60)
    first, second = pbx.ledger.records()
    assert first.originated_by.a_answered_at == first.started_at + 100
    assert (second.disposition, second.ended_at - second.started_at) == ("BUSY", 700)
    with pytest.raises(UnknownUserError):
        pbx.set_phone(1000, "nobody", registered=False)


def test_a_phone_that_is_offline_neither_calls_nor_is_reached():
    pbx = Pbx(SandboxSettings(KEYS[:1], calls_per_minute=600), clock := VirtualClock())
    pbx.set_phone(1000, "400", registered=False)
    clock.advance(120)
    calls = pbx.ledger.records()
    assert {call.src for call in calls} >= {"401", "402"}
    assert "400" not in {call.src for call in calls}
    called = [call for call in calls if call.dst == "400"]
    assert called
    assert {call.disposition for call in called} == {"FAILED"}


def test_a_silent_phone_does_not_shift_what_later_calls_get():
    def second(habit):
        pbx = Pbx(SandboxSettings(KEYS), clock := VirtualClock())
        pbx.originate(1000, "400", "401", habit=habit)
        pbx.originate(1000, "402", "403")
        clock.advance(120)
        return pbx.ledger.records()[1]

    assert second("silent") == second("answers") == second("refuses")


@pytest.mark.parametrize("step", [0.25, 60])
def test_channel_names_are_used_again(step):
    pbx = Pbx(SandboxSettings(KEYS[:1], calls_per_minute=300, reuse_channels=True), clock := VirtualClock())
    names, most = set(), 0
    for _ in range(round(120 / step)):
        clock.advance(step)
        live = [leg.name.partition("-")[2] for leg in pbx.channels(1000)]
        assert len(set(live)) == len(live)
        most = max(most, pbx.active_count(1000))
        names |= set(live)
    assert len(pbx.ledger.records()) > 400
    # As many slots as there were ever calls at once, and a few that came and went between two looks.
    assert len(names) <= 2 * (most + 15)


def test_the_slots_do_not_depend_on_how_often_it_is_asked():
    def legs(steps):
        pbx = Pbx(SandboxSettings(KEYS[:1], calls_per_minute=300, reuse_channels=True), clock := VirtualClock())
        for step in steps:
            clock.advance(step)
            pbx.active_count(1000)
        return pbx.channels(1000)

    assert legs([120]) == legs([0.5] * 240) != []


async def test_a_name_returns_for_another_call(start):
    api = await start(reuse_channels=True)
    api.pbx.place_call(1000, "74950000001", "400", "incoming", 1_000)
    first = (await api.get("/v1/calls/channels")).data
    api.clock.advance(2)
    api.pbx.place_call(1000, "74950000002", "400", "incoming", 1_000)
    assert (await api.get("/v1/calls/channels")).data == first


@pytest.mark.parametrize("order", [{"talk_ms": 6 * 3_600_000}, {"ring_ms": 0}, {"ring_ms": 0, "talk_ms": 2_000}])
async def test_calls_on_demand(api, order):
    call = {"account": 1000, "src": "74950000001", "dst": "400", "direction": "incoming", "ring_ms": 500, **order}
    answer = await api.request("POST", "/_sandbox/calls", key=None, body={**call, "count": 3})
    assert answer.json == ["1000-1", "1000-2", "1000-3"]
    length = call["ring_ms"] + call.get("talk_ms", 0)
    if length > 3_600_000:
        api.clock.advance(3_600)
        rows = (await api.get("/v1/calls/active")).data
        assert [row["seconds"] for row in rows] == [3_600] * 3
    api.clock.advance(length / 1000)
    assert [row["duration"] for row in (await api.get("/v1/calls/complete")).data] == [length // 1000] * 3
    api.clock.advance(5)
    assert (await api.get("/v1/calls/active")).data == []


async def test_thousands_at_once(api):
    call = {"account": 1000, "src": "74950000001", "dst": "400", "direction": "incoming", "ring_ms": 60_000}
    answer = await api.request("POST", "/_sandbox/calls", key=None, body={**call, "count": 8_000})
    assert len(set(answer.json)) == 8_000
    assert len((await api.get("/v1/calls/active")).data) == 8_000
    assert len((await api.get("/v1/calls/channels")).data) == 16_000


@pytest.mark.parametrize(
    "wrong",
    [{"account": 7}, {"count": 0}, {"count": 20_001}, {"src": ""}, {"direction": "up"}, {"disposition": "ANSWERED"}],
)
async def test_a_wrong_order_places_nothing(api, wrong):
    call = {"account": 1000, "src": "1", "dst": "400", "direction": "incoming", "ring_ms": 1, **wrong}
    answer = await api.request("POST", "/_sandbox/calls", key=None, body=call)
    assert (answer.status, list(msgspec.json.decode(answer.text))) == (400, ["error"])
    assert api.pbx.ledger.records() == []
