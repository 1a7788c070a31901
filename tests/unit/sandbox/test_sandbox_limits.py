"""Each limit at its edge, by virtual time, and what shares a lane."""

import asyncio

import pytest

from sandbox.clock import RealClock, VirtualClock
from sandbox.limits import Lane, Limiter
from sandbox.settings import KeySpec

TICK = 0.001
TABLE = [
    ("GET", "/v1/users", 1),
    ("GET", "/v1/users/400", 1),
    ("GET", "/v1/calls/channels", 2),
    ("GET", "/v1/calls/channels/SIP%2F400-00000002", 2),
    ("POST", "/v1/calls", 5),
    ("GET", "/v1/calls/complite", 5),
    ("GET", "/v1/calls/complete", 5),
    ("GET", "/v1/calls/active", 5),
    ("POST", "/v1/users/400/update_password", 1),
    ("POST", "/v1/users/400/update_extension_number", 5),
    ("POST", "/v1/users/400/update_email", 5),
    ("POST", "/v1/users/400/voice_mail_box_on", 5),
    ("POST", "/v1/users/400/voice_mail_box_off", 5),
    ("GET", "/v1/users/400/records", 5),
    ("GET", "/v1/accounts/1000/balance", 5),
    ("GET", "/v1/phone_numbers/+74950001122", 5),
]


@pytest.mark.parametrize(("method", "path", "seconds"), TABLE)
async def test_the_edge(api, method, path, seconds):
    api.pbx.place_call(1000, "400", "401", "internal", 600_000)

    async def ask() -> int:
        num = "450" if path.startswith("/v1/users") else "401"
        params = {"user": "400", "num": num, "password": "p", "mail": "a@b.example"}
        answer = await api.request(method, path, body={"params": params})
        return answer.status if answer.status == 200 else answer.failure

    assert await ask() == 200
    assert await ask() == 429
    api.clock.advance(seconds - TICK)
    assert await ask() == 429
    api.clock.advance(TICK)
    # Exactly the interval since the last admitted one: the refusals in between did not move it.
    assert await ask() == 200
    assert await ask() == 429


async def test_one_user_a_minute_is_created(api):
    for num, seconds, status in (("450", 59.999, 200), ("451", 0.001, 429), ("451", 0, 200)):
        answer = await api.change("/v1/users/create", password="p", num=num, mail="a@b.example")
        assert answer.status == status
        api.clock.advance(seconds)


async def test_two_users_do_not_disturb_each_other_two_changes_of_one_do(api):
    assert (await api.change("/v1/users/400/update_email", mail="a@b.example")).status == 200
    assert (await api.change("/v1/users/401/update_email", mail="a@b.example")).status == 200
    assert (await api.change("/v1/users/400/update_email", mail="c@b.example")).failure == 429


async def test_the_query_makes_no_other_lane(api):
    assert (await api.get("/v1/calls/complete", days=1)).status == 200
    assert (await api.get("/v1/calls/complete", days=2)).failure == 429
    assert (await api.get("/v1/calls/complete", days=1, nonce=7)).failure == 429


async def test_keys_methods_and_paths_are_lanes_of_their_own(start):
    api = await start(keys=[KeySpec("1000_a", "x"), KeySpec("1000_b", "x")])
    for key in ("1000_a", "1000_b"):
        for path in ("/v1/calls/complite", "/v1/calls/complete", "/v1/users/400", "/v1/users/401"):
            assert (await api.get(path, key=key, password="x")).status == 200
            assert (await api.get(path, key=key, password="x")).failure == 429


async def test_a_wrong_parameter_uses_the_slot(api):
    assert (await api.get("/v1/calls/complete", days=9)).failure == 400
    assert (await api.get("/v1/calls/complete")).failure == 429


async def test_exactly_one_of_many_at_once_passes(api):
    answers = await asyncio.gather(*(api.originate("400", "74950001234") for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200, *[429] * 19]
    assert len(api.pbx.ledger.records()) == 1


def test_idle_lanes_are_dropped():
    limiter, at = Limiter(), 0
    for number in range(50_000):
        at += 1_000_000
        assert limiter.admit(Lane("1_k", "GET", f"/v1/users/{number}"), 1_000, at)
    assert len(limiter._free_at_ns) <= 10_001
    assert not limiter.admit(Lane("1_k", "GET", "/v1/users/49999"), 1_000, at)


def test_clocks():
    clock = VirtualClock(start=5_000)
    clock.advance(1.25)
    assert (clock.now(), clock.monotonic_ns()) == (6_250, 1_250_000_000)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    real = RealClock()
    assert real.monotonic_ns() <= real.monotonic_ns()
    assert real.now() > 1_700_000_000_000
