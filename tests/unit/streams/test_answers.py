"""What is kept of answers: bounded, and without what the gateway keeps secret, however a receiver repeats it."""

from __future__ import annotations

import base64
import html
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from gateway.contract.deliveries import Attempt
from gateway.contract.endpoints import Endpoint
from streams.delivery.addresses import AddressPolicy
from streams.delivery.answers import BODY_KEPT, BODY_SEEN, Redactor, kept_body, kept_headers, secrets_of
from streams.delivery.attempt import Sender
from streams.delivery.targets import targets_of
from streams.fanout import expand
from tests.support.webhooks import SECRET, Behaviour, call_event, receiver, secret_file
from tests.unit.schemas.judge import json_of, judge_of

PASSWORD = 'pa/ss+wörd"<&>'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def attempt_at(behaviour: Behaviour, folder: Path, path: str = "/", **settings: Any) -> Attempt:
    """One attempt at a receiver that behaves so."""
    async with receiver() as there:
        url = there.url(path)
        there.behaviours[URL(url).path] = behaviour
        endpoint = Endpoint(id="crm", url=url, secrets=(secret_file(folder),), **settings)
        (delivery,) = expand(call_event(), [endpoint], datetime.now(UTC))
        sender = Sender(AddressPolicy(["127.0.0.0/8"]), lambda: datetime.now(UTC))
        try:
            result = await sender.send(targets_of([endpoint], allow_http=True)["crm"], delivery)
        finally:
            await sender.close()
    assert msgspec.json.decode(msgspec.json.encode(result.attempt), type=Attempt) == result.attempt
    return result.attempt


async def test_an_attempt_keeps_the_answer_whatever_it_was(tmp_path: Path) -> None:
    async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {"X-Request-Id": "r-1", "Set-Cookie": "sid=hush", "X-Auth-Token": "hush", "Location": "/a?t=hush"}
        return web.Response(status=503, text="größer\n" + "x" * 5000, headers=headers)

    attempt = await attempt_at(behave, tmp_path)
    assert attempt.response_headers is not None
    assert attempt.response_headers["x-request-id"] == "r-1"
    assert attempt.response_headers["content-type"] == "text/plain; charset=utf-8"
    assert attempt.response_headers["location"] == "/a"
    assert not {"set-cookie", "x-auth-token"} & attempt.response_headers.keys()
    assert attempt.response_body == "größer\n" + "x" * (BODY_KEPT - len("größer\n".encode()))
    assert "hush" not in str(attempt)
    judge_of("attempt").validate(json_of(attempt))


async def test_an_attempt_without_an_answer_keeps_none(tmp_path: Path) -> None:
    async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    attempt = await attempt_at(behave, tmp_path)
    assert (attempt.outcome, attempt.response_headers, attempt.response_body) == ("unreachable", None, None)


async def test_a_receiver_that_repeats_all_it_was_sent_betrays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", f"Basic {base64.b64encode(b'gateway:opensesame').decode()}")
    signatures: list[str] = []

    async def echo(request: web.Request, body: bytes) -> web.StreamResponse:
        sent = dict(request.headers)
        signatures.append(sent["webhook-signature"])
        told = {"headers": sent, "url": str(request.url), "known": "opensesame", "secret": SECRET}
        return web.Response(text=json.dumps(told), headers={"X-Echo": json.dumps(sent), "X-Url": request.path_qs})

    attempt = await attempt_at(
        echo,
        tmp_path,
        "/hooks/T0123456789abcdef0?key=in-the-url",
        headers={"Authorization": "env:TOKEN", "X-Key": "literal-key"},
    )
    assert attempt.outcome == "delivered"
    text = str(attempt)
    for secret in ("opensesame", "Z2F0ZXdheTpvcGVuc2VzYW1l", "literal-key", "in-the-url", "T0123456789abcdef0", SECRET):
        assert secret not in text
    assert SECRET.removeprefix("whsec_") not in text
    assert signatures[0].partition(",")[2] not in text
    # What is no secret is left to be read.
    assert "c1-1-crm" in (attempt.response_body or "")
    assert "application/cloudevents+json" in (attempt.response_headers or {})["x-echo"]


@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda one: json.dumps(one),
        lambda one: json.dumps(one).replace("/", "\\/"),
        html.escape,
        quote,
        lambda one: quote(one, safe=""),
        lambda one: quote_plus(one, safe=""),
    ],
)
def test_a_secret_is_known_in_every_usual_way_to_write_it(write: Any) -> None:
    redact = Redactor([PASSWORD])
    said = f"before {write(PASSWORD)} after"
    assert redact(said).replace('"', "") == "before [redacted] after"


@pytest.mark.parametrize(
    "written",
    [
        SIGNATURE,
        SIGNATURE.replace("/", "\\/"),
        SIGNATURE.replace("+", "\\u002B"),
        SIGNATURE.replace("=", "&#x3D;"),
        quote(SIGNATURE, safe=""),
        f"{SIGNATURE} v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw",
    ],
)
def test_signatures_are_known_without_being_told(written: str) -> None:
    redacted = Redactor()(f"<{written}>")
    assert set(redacted.removeprefix("<").removesuffix(">").split()) == {"[redacted]"}


def test_what_is_short_or_plain_is_left() -> None:
    redact = Redactor(["a", "short", *secrets_of(URL("https://crm.example.com/hooks/ringcloud"))])
    assert redact("a short answer of v1, at /hooks/ringcloud") == "a short answer of v1, at /hooks/ringcloud"


def test_the_parts_of_a_url_that_may_be_secret() -> None:
    url = URL("https://user:opensesame@crm.example.com/T0123456789abcdef0/x?key=in-the-url&n=1")
    redact = Redactor(secrets_of(url))
    for one in ("opensesame", "T0123456789abcdef0", "in-the-url", base64.b64encode(b"user:opensesame").decode()):
        assert redact(one) == "[redacted]"
    assert redact("crm.example.com") == "crm.example.com"


@given(st.binary(max_size=3000), st.integers(0, 1100))
def test_a_body_is_bounded_text(blob: bytes, pad: int) -> None:
    kept = kept_body(b"x" * pad + blob, Redactor(["opensesame"]))
    assert len(kept.encode()) <= BODY_KEPT
    assert msgspec.json.decode(msgspec.json.encode(kept)) == kept


@given(st.integers(0, 2 * BODY_KEPT), st.text("ab", max_size=20))
def test_no_part_of_a_secret_stays_where_the_text_is_cut(before: int, after: str) -> None:
    kept = kept_body((("x" * before) + "opensesame" + after).encode(), Redactor(["opensesame"]))
    assert "ope" not in kept


@pytest.mark.parametrize("length", [6, 100, 1000, 4096])
@pytest.mark.parametrize("shift", [0, 1, 5])
def test_nor_where_a_body_is_nothing_but_secrets(length: int, shift: int) -> None:
    secret = "S" + "0123456789" * 410
    body = ("." * shift + secret[:length] * (2 * BODY_SEEN // length + 1)).encode()
    kept = kept_body(body, Redactor([secret[:length]]))
    assert "0123" not in kept
    assert "[redacted]" in kept


def test_headers_are_bounded() -> None:
    many = CIMultiDict((f"x-{n}", "v" * 1000) for n in range(100))
    kept = kept_headers(many, Redactor())
    assert len(kept) == 32
    assert {len(value) for value in kept.values()} == {256}
    assert kept_headers(CIMultiDict({"x" * 65: "v", "X-A": "a"}), Redactor()) == {"x-a": "a"}


def test_headers_that_come_twice_are_one() -> None:
    assert kept_headers(CIMultiDict([("Via", "a"), ("via", "b")]), Redactor()) == {"via": "a, b"}


def test_headers_that_are_no_text_are_kept_as_far_as_they_are() -> None:
    told = b"caf\xe9 \xc3\xbc".decode("utf-8", "surrogateescape")
    assert kept_headers(CIMultiDict({"X-A": told}), Redactor()) == {"x-a": "caf\ufffd ü"}


@pytest.mark.parametrize(
    "name",
    [
        *("Set-Cookie", "Cookie", "Authorization", "WWW-Authenticate", "Proxy-Authenticate", "X-Auth-Token"),
        *("X-Api-Key", "X-CSRF-Token", "X-Session-Id", "X-Amz-Security-Token", "X-Hub-Signature-256", "Client-Secret"),
    ],
)
def test_headers_that_carry_secrets_are_not_kept(name: str) -> None:
    assert kept_headers(CIMultiDict({name: "hush", "Date": "today"}), Redactor()) == {"date": "today"}
