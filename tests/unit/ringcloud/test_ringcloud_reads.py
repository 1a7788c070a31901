"""Reads over real HTTP: what they answer, and when they are repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from gateway.ringcloud import (
    BadParameters,
    DeadlineExceeded,
    EnvelopeError,
    Limiter,
    PhoneNumber,
    RateLimited,
    Recording,
    RingCloud,
    RingCloudError,
    ServerError,
    TransportError,
    WallTime,
)
from tests.unit.ringcloud.clients import StoppedClock, client, no_secret
from tests.unit.ringcloud.scripted_server import Behaviour, begin, drop, raw, reply, scripted

Read = Callable[[RingCloud], Awaitable[object]]
READS: dict[str, tuple[Read, object]] = {
    "users": (lambda api: api.users(), []),
    "user": (lambda api: api.user("400"), {"user": "400"}),
    "records": (lambda api: api.records("400"), []),
    "channels": (lambda api: api.channels(), []),
    "channel": (lambda api: api.channel("x"), {"Channel": "x"}),
    "active": (lambda api: api.active_calls(), []),
    "completed": (lambda api: api.completed_calls(), []),
    "balance": (lambda api: api.balance(1000), 1),
    "phone number": (lambda api: api.phone_number("7495"), {}),
}


async def test_records() -> None:
    rows = [["a b/1.wav", "2026-03-03 12:30:00"], ["2.wav", 1_772_530_200, "more"]]
    noon = WallTime(1_772_530_200_000, 1_772_530_200_000)
    async with scripted(reply(rows)) as script, client(script) as api:
        assert await api.records("4/0") == [Recording("a b/1.wav", noon), Recording("2.wav", noon)]
    assert script.asked[0].path == "/v1/users/4%2F0/records"


async def test_lists_asked_for_in_turns_are_each_asked_for_as_they_are_meant() -> None:
    # More kinds than are kept made, each again once others were asked for.
    asked: list[tuple[int, str | None]] = [(1 + number % 7, f"49{number % 11}") for number in range(40)]
    asked += [(1, None), (2, None), (1, None), (2, None)]
    async with scripted(reply([])) as script, client(script) as api:
        for days, num in asked:
            await api.fetch_completed(days, num)
            await api.fetch_active()
    lists = [dict(one.query) for one in script.asked]
    assert [(int(one["days"]), one.get("num")) for one in lists[::2]] == asked
    assert not any({"days", "num"} & one.keys() for one in lists[1::2])


async def test_balance() -> None:
    async with scripted(raw(b'{"status":"success","data": 1234567890123.45}')) as script, client(script) as api:
        assert await api.balance(1000) == Decimal("1234567890123.45")
    assert script.asked[0].path == "/v1/accounts/1000/balance"


async def test_a_phone_number() -> None:
    data = {"country": "Russia", "region": "Moscow", "operator": None, "more": 1}
    async with scripted(reply(data)) as script, client(script) as api:
        assert await api.phone_number("+74950001122") == PhoneNumber(country="Russia", region="Moscow")
    assert script.asked[0].path == "/v1/phone_numbers/%2B74950001122"


@pytest.mark.parametrize("name", READS)
async def test_a_read_is_repeated_after_what_passes(name: str) -> None:
    read, data = READS[name]
    async with scripted(drop, reply(status=502), reply(data)) as script, client(script, read_retries=2) as api:
        await read(api)
    assert len(script.asked) == 3
    assert len({(asked.method, asked.path) for asked in script.asked}) == 1


@pytest.mark.parametrize("name", READS)
async def test_a_read_is_not_repeated_for_ever(name: str) -> None:
    behaviours = (begin(b"{", length=10), drop, reply(status=500))
    async with scripted(*behaviours) as script, client(script, read_retries=2) as api:
        with pytest.raises(ServerError) as raised:
            await READS[name][0](api)
    no_secret(raised.value)
    assert len(script.asked) == 3


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (reply(status=400), BadParameters),
        (reply(status=429), RateLimited),
        (raw(b"<html>"), EnvelopeError),
        (raw(b"{}"), EnvelopeError),
    ],
)
async def test_what_would_only_fail_again_is_not_repeated(behaviour: Behaviour, kind: type[RingCloudError]) -> None:
    async with scripted(behaviour) as script, client(script, read_retries=2) as api:
        with pytest.raises(kind):
            await api.users()
    assert len(script.asked) == 1


async def test_a_poll_is_never_repeated() -> None:
    async with scripted(drop, reply(status=500)) as script, client(script, read_retries=2) as api:
        with pytest.raises(TransportError):
            await api.fetch_active()
        with pytest.raises(ServerError):
            await api.fetch_completed()
    assert len(script.asked) == 2


async def test_a_read_that_cannot_be_repeated_in_time_tells_what_went_wrong() -> None:
    limiter = Limiter(StoppedClock())
    async with scripted(reply(status=500)) as script, client(script, read_retries=2, limiter=limiter) as api:
        with pytest.raises(ServerError) as raised:
            await api.users(deadline=api.now() + 0.5)
        no_secret(raised.value)
        with pytest.raises(DeadlineExceeded):
            await api.users(deadline=api.now() + 0.5)
    assert len(script.asked) == 1
