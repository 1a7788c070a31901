"""Changes of users over real HTTP: what is sent, that it is sent once at most, and that passwords stay inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from gateway.ringcloud import (
    BadParameters,
    DeadlineExceeded,
    EnvelopeError,
    Flight,
    Limiter,
    RingCloud,
    RingCloudError,
    ServerError,
    TransportError,
)
from tests.unit.ringcloud.clients import HASH, KEY, StoppedClock, client, no_secret
from tests.unit.ringcloud.scripted_server import Behaviour, begin, drop, hang, raw, reply, scripted

NEW = "n3w-p4ss\\é"

Change = Callable[[RingCloud], Awaitable[object]]
CHANGES: dict[str, tuple[Change, str, bytes]] = {
    "password": (
        lambda api: api.update_password("4/0", "n"),
        "/v1/users/4%2F0/update_password",
        b'{"password":"n"}',
    ),
    "number": (
        lambda api: api.update_extension_number("400", "499"),
        "/v1/users/400/update_extension_number",
        b'{"num":"499"}',
    ),
    "email": (lambda api: api.update_email("400", "a@b"), "/v1/users/400/update_email", b'{"mail":"a@b"}'),
    "on": (lambda api: api.voice_mail_box_on("400"), "/v1/users/400/voice_mail_box_on", b"{}"),
    "off": (lambda api: api.voice_mail_box_off("400"), "/v1/users/400/voice_mail_box_off", b"{}"),
    "create": (
        lambda api: api.create_user("pw", "410", "c@d"),
        "/v1/users/create",
        b'{"password":"pw","num":"410","mail":"c@d"}',
    ),
    "originate": (lambda api: api.originate("400", "1"), "/v1/calls", b'{"user":"400","num":"1"}'),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_is_posted_as_documented(name: str) -> None:
    change, path, params = CHANGES[name]
    async with scripted(reply("410" if name == "create" else None)) as script, client(script) as api:
        assert await change(api) == ("410" if name == "create" else None)
    (asked,) = script.asked
    assert (asked.method, asked.path) == ("POST", path)
    assert asked.query == {"api_key": KEY, "hash": HASH}
    assert asked.body == b'{"params":' + params + b"}"


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (drop, TransportError),
        (begin(b"{", length=10), TransportError),
        (hang, TransportError),
        (reply(status=503), ServerError),
        (raw(b"<html>"), EnvelopeError),
    ],
)
async def test_a_post_is_sent_once_whatever_comes_back(
    name: str, behaviour: Behaviour, kind: type[RingCloudError]
) -> None:
    async with (
        scripted(behaviour, reply()) as script,
        client(script, read_retries=5, timeout=0.2 if behaviour is hang else 10) as api,
    ):
        with pytest.raises(kind) as raised:
            await CHANGES[name][0](api)
        assert len(script.asked) == 1
    assert raised.value.maybe_done
    no_secret(raised.value)


@pytest.mark.parametrize("data", ["410", 410, {"user": 410, "num": "499"}])
async def test_the_new_users_name_is_returned(data: object) -> None:
    async with scripted(reply(data)) as script, client(script) as api:
        assert await api.create_user(NEW, "499", "a@b") == "410"


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (reply(status=400, message=f"too weak: {NEW}"), BadParameters),
        (reply(message=f"{NEW}?"), EnvelopeError),
    ],
)
async def test_a_new_password_is_never_repeated(behaviour: Behaviour, kind: type[RingCloudError]) -> None:
    async with scripted(behaviour) as script, client(script) as api:
        for change in (api.update_password("400", NEW), api.create_user(NEW, "499", "a@b")):
            with pytest.raises(kind) as raised:
                await change
            assert NEW not in str(raised.value) + repr(raised.value) + repr(vars(raised.value))
            assert "***" in raised.value.message


async def test_a_change_takes_a_deadline_a_hook_and_a_flight() -> None:
    async def stop() -> None:
        raise LookupError

    flight = Flight()
    async with scripted(reply()) as script, client(script, limiter=Limiter(StoppedClock())) as api:
        with pytest.raises(LookupError):
            await api.update_email("400", "a@b", before_send=stop, flight=flight)
        assert not flight.maybe_sent
        with pytest.raises(DeadlineExceeded):
            await api.update_email("400", "a@b", deadline=api.now() + 1)
        assert not script.asked
        await api.update_email("401", "a@b", flight=flight)
        assert flight.maybe_sent
        # Another change of the same user is another URL.
        await api.voice_mail_box_on("401", deadline=api.now())
    assert len(script.asked) == 2
