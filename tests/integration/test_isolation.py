"""Endpoints that misbehave in every way there is, all at once, on one partition with some that are well: nobody else is touched."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from gateway.config import Config
from gateway.contract.deliveries import Attempt, Outcome
from gateway.contract.endpoints import Endpoint
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker, free_port
from streams.delivery.attempt import RESPONSE_LIMIT
from streams.metrics import StreamsMetrics
from tests.support.delivering import decoded, endpoint, lag, produce, working
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import Receiver, config_for, create_topics, hanging, receiver

WELL = ("well", "fine")
# How each of the others misbehaves, and what its attempts come to.
BAD: dict[str, Outcome] = {
    "hangs": "timeout",
    "drips": "timeout",
    "pours": "delivered",
    "resets": "unreachable",
    "down": "unreachable",
}
CONCURRENCY = 2
EACH = 60
TEN_GB = 10 * 10**9
# What the sockets' buffers on both sides may hold besides what is read.
BUFFERED = 64 * 1024 * 1024


async def drip(request: web.Request, body: bytes) -> web.StreamResponse:
    """A byte a second."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    try:
        while True:
            await response.write(b".")
            await asyncio.sleep(1.0)
    except (ConnectionError, asyncio.CancelledError):
        return response


async def reset(request: web.Request, body: bytes) -> web.StreamResponse:
    """The connection breaks in place of an answer."""
    assert request.transport is not None
    found = request.transport.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    request.transport.abort()
    return web.Response(status=500)


def at_once(attempts: list[Attempt]) -> int:
    """How many of them were under way at once, at most."""
    # A millisecond less: when one began is told by another clock than how long it took.
    ends = [(one.at + timedelta(seconds=one.duration - 0.001), -1) for one in attempts]
    return max(itertools.accumulate(step for _, step in sorted([*ends, *((one.at, 1) for one in attempts)])))


class Bounds:
    """What bad endpoints were seen to take, at most."""

    def __init__(self) -> None:
        self.most_waiting: Counter[str] = Counter()
        self.most_poured = 0

    async def pour(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """10 GB, as fast as they are taken."""
        response = web.StreamResponse(headers={"Content-Length": str(TEN_GB)})
        await response.prepare(request)
        poured, piece = 0, b"x" * 65536
        try:
            while poured < TEN_GB:
                await response.write(piece)
                poured += len(piece)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.most_poured = max(self.most_poured, poured)
        return response

    def look(self, metrics: StreamsMetrics) -> None:
        """Note what waits in the lanes."""
        for name in BAD:
            waiting = metrics.registry.get_sample_value("ringcloud_webhook_lane_waiting", {"endpoint": name})
            self.most_waiting[name] = max(self.most_waiting[name], int(waiting or 0))


@asynccontextmanager
async def misbehaving(there: Receiver, bounds: Bounds) -> AsyncIterator[None]:
    """Meanwhile they misbehave; nobody listens where `down` should be."""
    with hanging() as hang:
        for name, behaviour in (("hangs", hang), ("drips", drip), ("pours", bounds.pour), ("resets", reset)):
            there.behaviours[f"/{name}"] = behaviour
        yield
    for name in BAD:
        there.behaviours.pop(f"/{name}", None)


def declared(there: Receiver, folder: Path, port: int) -> list[Endpoint]:
    """All of them; those that are bad are retried so often that nothing is given up meanwhile."""
    bad = [
        endpoint(there, folder, name, concurrency=CONCURRENCY, timeout=2.0, retries=[1] * 20)
        for name in BAD
        if name != "down"
    ]
    away = endpoint(Receiver(port), folder, "down", concurrency=CONCURRENCY, timeout=2.0, retries=[1] * 20)
    return [*bad, away, *(endpoint(there, folder, name) for name in WELL)]


async def mixed(config: Config, topics: Topics) -> dict[str, list[str]]:
    """Deliveries for all, those for the bad ones first and then in turns; their ids by endpoint."""
    wanted: dict[str, list[str]] = {name: [] for name in (*BAD, *WELL)}
    for part in range(3):
        for name in wanted:
            wanted[name] += await produce(config, topics, f"{name}{part}x", EACH // 3, to=name)
    return wanted


async def test_what_misbehaves_is_bounded_and_touches_nobody_else(broker: Broker, prefix: str, tmp_path: Path) -> None:
    bounds, port = Bounds(), free_port()
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(receiver())
        config = config_for(broker.bootstrap, prefix, declared(there, tmp_path, port))
        # One partition, so that they share all that can be shared.
        topics = await create_topics(config, partitions=1)
        async with misbehaving(there, bounds), working(config) as metrics:
            wanted = await mixed(config, topics)

            def all_well() -> bool:
                """those that are well have got everything, while the others go on"""
                bounds.look(metrics)
                return all(len(there.accepted(f"/{name}")) >= EACH for name in WELL)

            await eventually(all_well, 60.0)

            async def committed() -> bool:
                """every new delivery is done, or parked where it is taken up again, and its offset committed"""
                bounds.look(metrics)
                return await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0

            await eventually(committed, 60.0)
        attempts = await decoded(config, topics.attempts.name, Attempt)
        for name in WELL:
            assert Counter(there.accepted(f"/{name}")) == Counter(wanted[name])
            assert [one.outcome for one in attempts if one.endpoint == name] == ["delivered"] * EACH
        for name, outcome in BAD.items():
            # `failed` stands for what was not foreseen.
            theirs = [one for one in attempts if one.endpoint == name]
            assert {one.outcome for one in theirs} == {outcome}, name
            assert at_once(theirs) <= CONCURRENCY, name
        assert max(bounds.most_waiting.values()) <= config.delivery.window // 2
        assert 0 < bounds.most_poured <= RESPONSE_LIMIT + BUFFERED

        # Nothing of theirs is lost: it comes once they are well.
        back = await stack.enter_async_context(receiver(port=port))
        async with working(config):

            def all_came() -> bool:
                """the bad ones have got everything"""
                return all(
                    set((back if name == "down" else there).accepted(f"/{name}")) >= set(wanted[name]) for name in BAD
                )

            await eventually(all_came, 90.0)
        assert await read_all(config.kafka.bootstrap, topics.dead_letters.name) == []
