"""`python -m bench.quick`: ratios of hot paths to ceilings that know nothing of the gateway, in seconds; for `bench.guard`.

Prints a line of JSON: which code was measured, each path's ratio, and why one could not be measured.
"""

from __future__ import annotations

import hmac
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop

import gateway
from bench.hooks import hook_server
from bench.servers import cores, raw_server, serving

_SLICE = 0.02
_SLICES = 15
Work = Callable[[], Awaitable[object]]
Pair = tuple[Work, Work]  # the path, and its ceiling


class Measured(msgspec.Struct, frozen=True):
    """What was measured: where the code lies, the ratios, and what went wrong instead."""

    code: str
    ratios: dict[str, float]
    failed: dict[str, str]


# Each imports what it measures: another revision may not have it, and the rest can be measured all the same.


async def fan_out(_: AsyncExitStack) -> Pair:
    """An event to 100 endpoints that match, beside the encoding of its deliveries."""
    from bench.fanout import event_record, expander

    record = event_record()
    expand, delivery = expander(100, 0)
    encode = msgspec.json.Encoder().encode
    return plain(lambda: expand(record)), plain(lambda: [encode(delivery) for _ in range(100)])


async def index(_: AsyncExitStack) -> Pair:
    """An event where one of 5,000 endpoints matches, beside the decoding of its bytes."""
    from bench.fanout import event_record, expander

    record = event_record()
    expand = expander(1, 4_999)[0]
    decode = msgspec.json.Decoder().decode
    return plain(lambda: expand(record)), plain(lambda: decode(record.value or b""))


async def active(_: AsyncExitStack) -> Pair:
    """1,000 active calls of which 1 % changed, beside msgspec's reading of the same bytes."""
    from bench.differ import plain as decode
    from bench.differ import reading_active, unique

    read, body = reading_active(1_000, unique)
    return plain(read), plain(lambda: decode(body))


async def completed(_: AsyncExitStack) -> Pair:
    """2,000 completed calls of which 20 are new, beside msgspec's reading of the same bytes."""
    from bench.differ import plain as decode
    from bench.differ import reading_completed

    read, body = reading_completed(2_000)
    return plain(read), plain(lambda: decode(body))


async def signing(_: AsyncExitStack) -> Pair:
    """A webhook's headers, beside an HMAC of the same bytes."""
    from bench.rig import SECRET
    from streams.delivery.signing import Signer

    signer, body, key = Signer.of([SECRET]), b"x" * 1024, b"k" * 32
    return (
        plain(lambda: signer.headers("01M87KG21TW90VCSYMV7M3KQCW-3-e", 1_700_000_000, body)),
        plain(lambda: hmac.digest(key, body, "sha256")),
    )


async def attempt(stack: AsyncExitStack) -> Pair:
    """An attempt at a webhook, beside the bare client's POST of the same body."""
    from bench.rig import SECRET, call_event
    from gateway.contract.deliveries import Delivery
    from gateway.contract.endpoints import Endpoint
    from streams.delivery.addresses import AddressPolicy
    from streams.delivery.attempt import Sender
    from streams.delivery.targets import targets_of

    server = stack.enter_context(serving(cores()[0], hook_server, 1))
    url = f"{server.url}/well/0"
    os.environ["BENCH_SECRET"] = SECRET
    target = targets_of([Endpoint(id="e", url=url, secrets=("env:BENCH_SECRET",))], allow_http=True)["e"]
    sender = Sender(AddressPolicy(["127.0.0.0/8"]), lambda: datetime.now(UTC))
    stack.push_async_callback(sender.close)
    body = msgspec.json.encode(call_event(1, 1000, 1024))
    delivery = Delivery(
        id="01M87KG21TW90VCS0000000001-3-e",
        endpoint="e",
        event_type="call.ended",
        account=1000,
        call_id="01M87KG21TW90VCS0000000001",
        event=msgspec.Raw(body),
        created_at=datetime.now(UTC),
    )
    session = await stack.enter_async_context(aiohttp.ClientSession())

    async def send() -> None:
        result = await sender.send(target, delivery)
        assert result.delivered, result.attempt.error

    async def post() -> None:
        async with session.post(url, data=body) as answer:
            await answer.read()

    return send, post


async def poll(stack: AsyncExitStack) -> Pair:
    """A poll of active calls whose rows are read, beside the bare client's GET of the same bytes."""
    from bench.differ import BEGIN, active_body, unique
    from gateway.ringcloud import Http, Limiter, Priority, RingCloud

    body = active_body(0, 50, BEGIN, unique)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    server = stack.enter_context(serving(cores()[0], raw_server, head + body))
    http = await stack.enter_async_context(Http(max_connections=4))
    limiter = Limiter()
    # Each key may ask once in 5 s: one for each poll.
    clients = iter(
        [RingCloud(f"1000_{n}", "bench", base_url=server.url, http=http, limiter=limiter) for n in range(20_000)]
    )
    session = await stack.enter_async_context(aiohttp.ClientSession())

    async def ask() -> None:
        api = next(clients)
        api.read_active(await api.fetch_active(priority=Priority.POLL))

    async def get() -> None:
        async with session.get(server.url) as answer:
            await answer.read()

    return ask, get


PATHS: dict[str, Callable[[AsyncExitStack], Awaitable[Pair]]] = {
    "fan-out, 100 of 100 endpoints": fan_out,
    "fan-out, 1 of 5,000 endpoints": index,
    "differ, 1,000 active calls": active,
    "differ, 2,000 completed calls": completed,
    "signing a webhook": signing,
    "an attempt at a webhook": attempt,
    "a poll of active calls": poll,
}


def plain(work: Callable[[], Any]) -> Work:
    """Work without waiting, as the others are called."""

    async def run() -> None:
        work()

    return run


async def ratio(pair: Pair) -> float:
    """How often the path is gone to one time of its ceiling, both in short turns."""
    clock = time.perf_counter
    done, took = [0, 0], [0.0, 0.0]
    for turn in range(2 * _SLICES + 2):
        which = turn % 2
        began = clock()
        count = 0
        while (now := clock()) - began < _SLICE:
            await pair[which]()
            count += 1
        # The first turn of each warms up.
        if turn > 1:
            done[which] += count
            took[which] += now - began
    return (done[0] / took[0]) / (done[1] / took[1])


async def measured() -> Measured:
    """Every path's ratio."""
    os.sched_setaffinity(0, {cores()[1]})
    ratios: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name, make in PATHS.items():
        try:
            async with AsyncExitStack() as stack:
                ratios[name] = await ratio(await make(stack))
        except Exception as error:  # noqa: BLE001 - whatever another revision lacks, the rest is still to be measured
            failed[name] = f"{type(error).__name__}: {error}"
    return Measured(str(Path(gateway.__file__).parent.parent), ratios, failed)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(uvloop.run(measured())).decode() + "\n")
