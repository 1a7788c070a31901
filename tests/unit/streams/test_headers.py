"""Headers that an endpoint wants besides the gateway's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import ConfigError, load
from gateway.contract.endpoints import Endpoint
from gateway.contract.reach import reach_fault, value_fault
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Sender
from streams.delivery.targets import targets_of
from streams.fanout import expand
from tests.support.webhooks import SECRET, call_event, receiver, secret_file

OWN = [
    *("webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "webhook-anything", "Content-Type", "content-length"),
    *("Content-Encoding", "Host", "HOST", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade"),
    *("Expect", "Proxy-Authorization", "proxy-connection", "Accept-Encoding", "Traceparent"),
]


def endpoint(headers: dict[str, str], url: str = "https://crm.example.com") -> Endpoint:
    return Endpoint(id="crm", url=url, secrets=("env:S",), headers=headers)


def test_the_file_s_headers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[[endpoints]]\nid = "crm"\nurl = "https://crm.example.com"\nsecrets = ["env:S"]\n'
        'headers = { "X-Tenant" = "a", Authorization = "env:TOKEN" }\n',
        encoding="utf-8",
    )
    assert load(path).endpoints[0].headers == {"X-Tenant": "a", "Authorization": "env:TOKEN"}
    path.write_text(path.read_text().replace("X-Tenant", "Host"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.headers\.Host: is the gateway's own to set$"):
        load(path)


async def test_they_are_sent_beside_the_gateway_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "Bearer of-the-environment\n")
    (tmp_path / "key").write_text("of-the-file\n")
    async with receiver() as there:
        wanted = {"X-Tenant": "a", "Authorization": "env:TOKEN", "X-Key": f"file:{tmp_path}/key", "User-Agent": "us"}
        declared = msgspec.structs.replace(endpoint(wanted, there.url()), secrets=(secret_file(tmp_path),))
        target = targets_of([declared], allow_http=True)["crm"]
        assert "of-the-" not in repr(target)
        (delivery,) = expand(call_event(), [declared], datetime.now(UTC))
        sender = Sender(AddressPolicy(["127.0.0.0/8"]), lambda: datetime.now(UTC))
        try:
            assert (await sender.send(target, delivery)).delivered
        finally:
            await sender.close()
    (got,) = there.received
    got.verify(SECRET)
    assert got.headers["x-tenant"] == "a"
    assert got.headers["authorization"] == "Bearer of-the-environment"
    assert got.headers["x-key"] == "of-the-file"
    assert got.headers["user-agent"] == "us"
    assert got.headers["content-type"] == "application/cloudevents+json; charset=utf-8"


@pytest.mark.parametrize("name", OWN)
def test_the_gateway_s_own_are_not_overridden(name: str) -> None:
    assert reach_fault(endpoint({"X-A": "a", name: "b"}), allow_http=False) == (
        f"headers.{name}",
        "is the gateway's own to set",
    )


@pytest.mark.parametrize("name", ["", " X", "X A", "X:A", "X\r\nA", "X\n", "Ünicode", "X\x00", "(a)", "a" * 129])
def test_what_is_no_name_is_refused(name: str) -> None:
    found = reach_fault(endpoint({name: "a"}), allow_http=False)
    assert found is not None
    assert found[0] == "headers"
    assert found[1].endswith("is not the name of a header")
    assert "\n" not in found[1]


@pytest.mark.parametrize("value", ["", "hush\r\nHost: evil", "hush\n", "\rhush", " hush", "hush ", "hüsh", "hu\x00sh"])
def test_what_is_no_value_is_refused_and_not_shown(value: str) -> None:
    found = reach_fault(endpoint({"X-A": value}), allow_http=False)
    assert found is not None
    assert found[0] == "headers.X-A"
    assert "hush" not in found[1]


@given(st.text(max_size=30))
def test_no_value_passes_that_could_end_a_header(value: str) -> None:
    if value_fault(value) is None:
        assert value == value.strip()
        assert all(" " <= one <= "~" or one == "\t" for one in value)


def test_what_a_reference_leads_to_is_checked_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = secret_file(tmp_path)
    declared = msgspec.structs.replace(endpoint({"X-A": "env:TOKEN"}), secrets=(secret,))
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.headers\.X-A: variable TOKEN is not set"):
        targets_of([declared])
    monkeypatch.setenv("TOKEN", "hush\r\nHost: evil")
    with pytest.raises(ConfigError, match=r"endpoint crm: endpoints\[0\]\.headers\.X-A: must be 1 to 4096") as caught:
        targets_of([declared])
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("value", ["env:", "env:A-B", "file:", "env:A B"])
def test_what_begins_like_a_reference_is_one(value: str) -> None:
    found = reach_fault(endpoint({"X-A": value}), allow_http=False)
    assert found == ("headers.X-A", "must be env:NAME or file:PATH where it begins so")


def test_the_same_header_twice_is_refused() -> None:
    found = reach_fault(endpoint({"X-A": "a", "x-a": "b"}), allow_http=False)
    assert found == ("headers.x-a", "is there twice: capitals make no difference")


def test_the_url_s_user_and_an_authorization_exclude_each_other() -> None:
    declared = endpoint({"Authorization": "Bearer hush"}, "https://user:hush@crm.example.com")
    assert reach_fault(declared, allow_http=False) == ("headers.Authorization", "url has a user already")
