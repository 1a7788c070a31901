"""Attempts against receivers that do and do not behave, over real connections."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from yarl import URL

from gateway.contract.deliveries import Delivery, Outcome
from gateway.contract.endpoints import Endpoint
from gateway.dev.brokers import free_port
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import RESPONSE_LIMIT, Result, Sender
from streams.delivery.signing import Signer
from streams.delivery.targets import Target
from streams.fanout import expand
from tests.support.webhooks import OTHER_SECRET, SECRET, answering, call_event, hanging, receiver
from tests.unit.streams.resolvers import Turncoat

ALLOWED = AddressPolicy(["127.0.0.0/8", "::1"])


def delivery_for(endpoint: Endpoint) -> Delivery:
    (delivery,) = expand(call_event(), [endpoint], datetime.now(UTC))
    return delivery


async def attempt(url: str, policy: AddressPolicy = ALLOWED, *, timeout: float = 5.0, attempts: int = 0) -> Result:
    """One attempt at `url`."""
    endpoint = Endpoint(id="e", url=url, secrets=("env:S",), timeout=timeout)
    sender = Sender(policy, lambda: datetime.now(UTC))
    try:
        delivery = msgspec.structs.replace(delivery_for(endpoint), attempts=attempts)
        return await sender.send(Target(endpoint, URL(url), Signer.of([SECRET, OTHER_SECRET])), delivery)
    finally:
        await sender.close()


async def test_a_delivered_webhook_is_signed_and_is_the_event() -> None:
    async with receiver() as there:
        result = await attempt(there.url("/in?token=hush"), attempts=2)
        (got,) = there.received
    assert result.delivered
    assert (result.attempt.number, result.attempt.status, result.attempt.error) == (3, 200, None)
    got.verify(SECRET)
    got.verify(OTHER_SECRET)
    assert got.id == result.attempt.delivery == "c1-1-e"
    assert got.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert got.headers["user-agent"].startswith("ringcloud-gateway/")
    assert msgspec.json.decode(got.body)["specversion"] == "1.0"


@pytest.mark.parametrize("status", [304, 400, 404, 410, 429, 500, 503])
async def test_any_other_answer_is_refused(status: int) -> None:
    async with receiver() as there:
        there.behaviours["/"] = answering(status, headers={"Retry-After": "7"})
        result = await attempt(there.url())
    assert (result.attempt.outcome, result.attempt.status) == ("refused", status)
    assert result.retry_after == (7.0 if status in (429, 503) else None)
    assert result.gone == (status == 410)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    async with receiver() as there:
        there.behaviours["/"] = answering(status, headers={"Location": "/elsewhere"})
        result = await attempt(there.url())
        assert result.attempt.outcome == "refused"
        assert "redirects are not followed" in (result.attempt.error or "")
        assert there.at("/elsewhere") == []


async def test_an_endpoint_that_hangs_costs_its_timeout() -> None:
    async with receiver() as there:
        with hanging() as behaviour:
            there.behaviours["/"] = behaviour
            result = await attempt(there.url(), timeout=0.2)
    assert result.attempt.outcome == "timeout"
    assert 0.2 <= result.attempt.duration < 2


async def test_an_answer_that_drips_costs_the_timeout_and_keeps_its_status() -> None:
    async def drip(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b".")
                await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.CancelledError):
            return response

    async with receiver() as there:
        there.behaviours["/"] = drip
        result = await attempt(there.url(), timeout=0.3)
    assert (result.attempt.outcome, result.attempt.status) == ("timeout", 200)


async def test_an_endless_answer_is_read_up_to_the_limit() -> None:
    sent = 0

    async def pour(request: web.Request, body: bytes) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                sent += 65536
        except (ConnectionError, asyncio.CancelledError):
            return response

    async with receiver() as there:
        there.behaviours["/"] = pour
        began = time.perf_counter()
        result = await attempt(there.url())
    assert result.delivered
    assert time.perf_counter() - began < 3
    # What lies in the buffers of both sides' sockets was sent, and never read.
    assert sent < RESPONSE_LIMIT + 64 * 1024 * 1024


@asynccontextmanager
async def raw_server(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A TCP server; gives its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/?token=hush"


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


async def _nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"SSH-2.0-hello\r\n\r\n")
    await writer.drain()


async def _broken_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()


@pytest.mark.parametrize("behave", [_close, _reset, _nonsense, _broken_off])
async def test_a_connection_that_breaks_is_unreachable(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async with raw_server(behave) as url:
        result = await attempt(url)
    assert result.attempt.outcome == "unreachable"
    assert "hush" not in (result.attempt.error or "")
    assert "127.0.0.1" not in (result.attempt.error or "")


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        ("http://127.0.0.1:{port}/?token=hush", "unreachable"),
        ("http://user:hush@localhost:{port}/", "unreachable"),
        ("https://127.0.0.1:{port}/?token=hush", "unreachable"),
        ("http://no-such-host.invalid/?token=hush", "unreachable"),
    ],
)
async def test_no_connection_is_unreachable(url: str, outcome: Outcome) -> None:
    result = await attempt(url.format(port=free_port()))
    assert result.attempt.outcome == outcome
    assert result.attempt.error
    assert "hush" not in result.attempt.error


async def test_a_receiver_that_speaks_no_tls_is_unreachable() -> None:
    async with receiver() as there:
        result = await attempt(there.url().replace("http://", "https://"))
    assert result.attempt.outcome == "unreachable"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "2130706433",
        "127.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "0x7f.1",
        "127.0.0.1.",
        "LOCALHOST",
        "\uff11\uff12\uff17.0.0.1",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[0:0:0:0:0:0:0:1]",
        "[64:ff9b:1::7f00:1]",
        "[fe80::1%25lo]",
        "[fd00:ec2::254]",
        "169.254.169.254",
    ],
)
async def test_a_refused_address_is_blocked_and_nothing_is_sent(host: str) -> None:
    async with receiver() as there:
        result = await attempt(f"http://{host}:{there.port}/?token=hush", AddressPolicy())
        assert (result.attempt.outcome, result.attempt.status) == ("blocked", None)
        assert there.arrived == 0
    assert "hush" not in (result.attempt.error or "")


async def _attempts(url: str, resolver: AbstractResolver, allowed: str, times: int = 1) -> list[Result]:
    """Attempts at `url` through `resolver`, each from a sender that has no connection yet."""
    endpoint = Endpoint(id="e", url=url, secrets=("env:S",))
    results = []
    for _ in range(times):
        sender = Sender(AddressPolicy([allowed]), lambda: datetime.now(UTC), resolver)
        try:
            results.append(await sender.send(Target(endpoint, URL(url), Signer.of([SECRET])), delivery_for(endpoint)))
        finally:
            await sender.close()
    return results


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    resolver = Turncoat(["127.0.0.2"], ["127.0.0.1"])
    async with receiver("127.0.0.1") as inside, receiver("127.0.0.2", inside.port) as outside:
        first, second = await _attempts(outside.url(host="rebinding.example"), resolver, "127.0.0.2", times=2)
        assert (first.attempt.outcome, outside.arrived) == ("delivered", 1)
        # Asked once an attempt: there is no second answer that could be dialled after the first was checked.
        assert resolver.asked == 2
        assert (second.attempt.outcome, second.attempt.error) == ("blocked", "address 127.0.0.1 is loopback")
        assert inside.arrived == 0


@pytest.mark.parametrize("answer", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1"] * 3])
async def test_of_several_addresses_only_the_allowed_are_dialled(answer: list[str]) -> None:
    async with receiver("127.0.0.1") as inside, receiver("127.0.0.2", inside.port) as outside:
        (result,) = await _attempts(outside.url(host="both.example"), Turncoat(answer), "127.0.0.2")
        assert inside.arrived == 0
        assert outside.arrived == result.delivered == ("127.0.0.2" in answer)


async def test_an_allowed_address_that_is_down_does_not_lead_to_a_refused_one() -> None:
    async with receiver("127.0.0.1") as inside:
        url = inside.url(host="both.example")
        (result,) = await _attempts(url, Turncoat(["127.0.0.2", "127.0.0.1"]), "127.0.0.2")
        assert (result.attempt.outcome, inside.arrived) == ("unreachable", 0)


async def test_a_redirect_to_what_is_refused_is_not_followed() -> None:
    async with receiver("127.0.0.1") as inside, receiver("127.0.0.2", inside.port) as outside:
        outside.behaviours["/"] = answering(307, headers={"Location": inside.url("/latest/meta-data")})
        (result,) = await _attempts(outside.url(host="127.0.0.2"), Turncoat([]), "127.0.0.2")
        assert (result.attempt.outcome, result.attempt.status, inside.arrived) == ("refused", 307, 0)


async def test_a_pool_serves_many_attempts_over_few_connections() -> None:
    ports: set[int] = set()

    async def note(request: web.Request, body: bytes) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(text="thanks")

    async with receiver() as there:
        there.behaviours["/"] = note
        endpoint = Endpoint(id="e", url=there.url(), secrets=("env:S",))
        target = Target(endpoint, URL(endpoint.url), Signer.of([SECRET]))
        sender = Sender(ALLOWED, lambda: datetime.now(UTC))
        try:
            for _ in range(5):
                assert (await sender.send(target, delivery_for(endpoint))).delivered
        finally:
            await sender.close()
    assert len(ports) == 1
