"""The way through a proxy, and that its credentials stay inside."""

from __future__ import annotations

import base64

import pytest

from gateway.ringcloud import Http, TransportError, UnexpectedStatus
from tests.unit.ringcloud.clients import ROW, client, no_secret
from tests.unit.ringcloud.forward_proxy import forward_proxy
from tests.unit.ringcloud.scripted_server import raw, reply, scripted


async def test_requests_go_through_the_proxy() -> None:
    async with scripted(reply([ROW]), reply(), raw(b"RIFF")) as script, forward_proxy() as proxy:
        async with Http(proxy=f"http://{proxy.address}") as http:
            api = client(script, http=http)
            assert len(await api.active_calls()) == 1
            await api.originate("400", "1")
            async with api.record("400", "1.wav") as pieces:
                assert [piece async for piece in pieces] == [b"RIFF"]
        assert [head.split("?")[0] for head in proxy.heads] == [
            f"GET {script.url}/v1/calls/active",
            f"POST {script.url}/v1/calls",
        ]  # the recording came over the connection that the first read had left
    assert [asked.method for asked in script.asked] == ["GET", "POST", "GET"]


async def test_the_proxys_credentials_are_for_the_proxy() -> None:
    async with scripted(reply([])) as script, forward_proxy() as proxy:
        async with Http(proxy=f"http://some:pr0xy%2Fpw@{proxy.address}") as http:
            await client(script, http=http).active_calls()
        assert base64.b64encode(b"some:pr0xy/pw").decode() in proxy.heads[0]
        assert "pr0xy" not in repr(vars(http))


async def test_a_proxy_that_refuses() -> None:
    async with forward_proxy() as proxy, Http(proxy=f"http://some:pr0xy@{proxy.address}") as http:
        proxy.refuses = True
        for url, kind in (("http://nowhere.invalid", UnexpectedStatus), ("https://nowhere.invalid", TransportError)):
            with pytest.raises(kind) as raised:
                await client(url, http=http).active_calls()
            no_secret(raised.value)
            assert "pr0xy" not in str(raised.value)
        assert proxy.heads[1].startswith("CONNECT nowhere.invalid:443 ")
    # The tunnel was never made, so nothing can have gone through it.
    assert raised.value.maybe_done is False


async def test_no_proxy_listens() -> None:
    async with forward_proxy() as proxy:
        pass
    async with Http(proxy=f"http://some:pr0xy@{proxy.address}") as http:
        with pytest.raises(TransportError) as raised:
            await client("http://nowhere.invalid", http=http).active_calls()
    no_secret(raised.value)
    assert "pr0xy" not in str(raised.value)
    assert raised.value.maybe_done is False


@pytest.mark.parametrize(
    "wrong", ["", "some:pr0xy@host", "socks5://some:pr0xy@host", "http://", "http://some:pr0xy@h:x"]
)
def test_what_is_no_proxy_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(ValueError, match="not an HTTP proxy") as raised:
        Http(proxy=wrong)
    assert "pr0xy" not in str(raised.value)
