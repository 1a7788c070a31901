"""Where an attempt's time went: which phases it came to, over connections that are new, kept, tunnelled or stuck."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
import uvloop
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.contract.deliveries import Attempt
from gateway.contract.endpoints import Endpoint
from gateway.dev.brokers import free_port
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Sender
from streams.delivery.targets import targets_of
from streams.fanout import expand
from tests.support.webhooks import call_event, hanging, receiver, secret_file
from tests.unit.ringcloud.forward_proxy import forward_proxy
from tests.unit.streams.resolvers import Turncoat

NAME = "crm.example.com"


async def attempts(
    url: str,
    folder: Path,
    times: int = 1,
    *,
    resolver: AbstractResolver | None = None,
    proxy: str | None = None,
    timeout: float = 5.0,
    ca: str | None = None,
) -> list[Attempt]:
    """So many attempts at `url` by one sender."""
    endpoint = Endpoint(id="crm", url=url, secrets=(secret_file(folder),), timeout=timeout, ca=ca)
    (delivery,) = expand(call_event(), [endpoint], datetime.now(UTC))
    target = targets_of([endpoint], allow_http=True)["crm"]
    sender = Sender(
        AddressPolicy(["127.0.0.0/8"]),
        lambda: datetime.now(UTC),
        resolver or Turncoat(["127.0.0.1"]),
        None if proxy is None else URL(proxy),
    )
    try:
        made = [(await sender.send(target, delivery)).attempt for _ in range(times)]
    finally:
        await sender.close()
    for attempt in made:
        # They follow each other: together they are never longer than the whole, but for what was rounded.
        assert sum(came_to(attempt).values()) <= attempt.duration + 6e-6
    return made


def came_to(attempt: Attempt) -> dict[str, float]:
    """The phases that it came to."""
    return {name: took for name, took in msgspec.structs.asdict(attempt.phases).items() if took is not None}


@asynccontextmanager
async def secure(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """A receiver over TLS: its URL and a reference to its authority."""
    ca = trustme.CA()
    (folder / "ca.pem").write_bytes(ca.cert_pem.bytes())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(NAME).configure_cert(tls)
    async with receiver(tls=tls) as there:
        yield there.url(host=NAME), f"file:{folder}/ca.pem"


async def over_http(folder: Path) -> None:
    async with receiver() as there:
        first, second = await attempts(there.url(host=NAME), folder, 2)
    assert list(came_to(first)) == ["resolve", "connect", "send", "wait", "body"]
    assert list(came_to(second)) == ["send", "wait", "body"]


async def over_tls(folder: Path) -> None:
    async with secure(folder) as (url, ca):
        first, second = await attempts(url, folder, 2, ca=ca)
    assert list(came_to(first)) == ["resolve", "connect", "tls", "send", "wait", "body"]
    assert list(came_to(second)) == ["send", "wait", "body"]


async def through_a_proxy(folder: Path) -> None:
    async with secure(folder) as (url, ca), forward_proxy() as proxy:
        first, second = await attempts(url, folder, 2, ca=ca, proxy=f"http://{proxy.address}")
    assert list(came_to(first)) == ["resolve", "connect", "tls", "send", "wait", "body"]
    assert list(came_to(second)) == ["resolve", "send", "wait", "body"]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("case", [over_http, over_tls, through_a_proxy])
def test_each_phase_is_timed_once_it_is_come_to(run: Any, case: Any, tmp_path: Path) -> None:
    work: Coroutine[Any, Any, None] = case(tmp_path)
    run(work)


async def test_a_name_server_that_hangs_is_told(tmp_path: Path) -> None:
    class Silent(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            return await asyncio.get_running_loop().create_future()

        async def close(self) -> None:
            pass

    (attempt,) = await attempts(f"http://{NAME}/", tmp_path, resolver=Silent(), timeout=0.1)
    assert (attempt.outcome, list(came_to(attempt))) == ("timeout", ["resolve"])


async def test_a_connection_that_is_refused_is_told(tmp_path: Path) -> None:
    (attempt,) = await attempts(f"http://{NAME}:{free_port()}/", tmp_path)
    assert (attempt.outcome, list(came_to(attempt))) == ("unreachable", ["resolve", "connect"])


async def test_a_handshake_that_hangs_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (attempt,) = await attempts(f"https://{NAME}:{silent.getsockname()[1]}/", tmp_path, timeout=0.2)
    assert (attempt.outcome, list(came_to(attempt))) == ("timeout", ["resolve", "connect", "tls"])


async def test_an_answer_that_hangs_is_told(tmp_path: Path) -> None:
    async with receiver() as there:
        with hanging() as behaviour:
            there.behaviours["/"] = behaviour
            (attempt,) = await attempts(there.url(), tmp_path, timeout=0.2)
    assert attempt.outcome == "timeout"
    took = came_to(attempt)
    assert list(took) == ["resolve", "connect", "send", "wait"]
    assert max(took, key=took.__getitem__) == "wait"


async def test_a_body_that_hangs_is_told(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"so far")
        await over.wait()
        return response

    async with receiver() as there:
        there.behaviours["/"] = behave
        (attempt,) = await attempts(there.url(), tmp_path, timeout=0.2)
        over.set()
    assert (attempt.outcome, attempt.status, attempt.response_body) == ("timeout", 200, "so far")
    took = came_to(attempt)
    assert list(took) == ["resolve", "connect", "send", "wait", "body"]
    assert max(took, key=took.__getitem__) == "body"


async def test_attempts_at_once_do_not_mix_their_times(tmp_path: Path) -> None:
    async with receiver() as there:
        with hanging() as behaviour:
            there.behaviours["/slow"] = behaviour
            (slow,), quick = await asyncio.gather(
                attempts(there.url("/slow"), tmp_path, timeout=2.0), attempts(there.url("/quick"), tmp_path, 5)
            )
    assert list(came_to(slow)) == ["resolve", "connect", "send", "wait"]
    assert [list(came_to(one)) for one in quick] == [
        ["resolve", "connect", "send", "wait", "body"],
        *[["send", "wait", "body"]] * 4,
    ]


async def test_a_proxy_that_hangs_is_told_from_a_handshake_that_does(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (attempt,) = await attempts(f"https://{NAME}/", tmp_path, proxy=proxy, timeout=0.2)
    assert (attempt.outcome, list(came_to(attempt))) == ("timeout", ["resolve", "connect"])
