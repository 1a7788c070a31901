"""Readiness of both services as processes: through brokers that hang and come back, standing by, and at their stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.dev.brokers import ApacheKafka, Broker, Child, EmbeddedBroker, free_port
from gateway.runtime.kafka import ensure_topics
from sandbox.settings import SandboxSettings
from tests.integration.conftest import need_apache_kafka, running
from tests.support.gateway import Site, keys_of, site
from tests.support.waiting import eventually

ACCOUNT = 4100


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if request.param == "kafka":
        need_apache_kafka()
    yield from running((ApacheKafka if request.param == "kafka" else EmbeddedBroker)(tmp_path / "broker"))


class Service:
    """A service of a site as a process, and what its probes say."""

    def __init__(self, place: Site, kind: str, name: str) -> None:
        self.listen = f"127.0.0.1:{free_port()}"
        service = "gateway" if kind == "poll" else "streams"
        path = place.folder / f"{name}.toml"
        path.write_bytes(msgspec.toml.encode({**place.document, "metrics": {service: self.listen}}))
        self.child = Child(name, [sys.executable, "-m", "gateway.cli", kind, str(path)], place.folder / f"{name}.log")

    async def __aenter__(self) -> Service:
        self.child.spawn()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.child.kill()

    async def probe(self, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
        """The status and the checks; 0 while nobody listens."""
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://{self.listen}{path}") as answer:
                return answer.status, (await answer.json())["checks"]
        except aiohttp.ClientError:
            return 0, {}

    async def says(self, status: int, check: str = "loop", words: str = "", timeout: float = 60.0) -> None:
        """Wait until it is ready, or not, and a check says so."""
        last: list[Any] = []

        async def said() -> bool:
            last[:] = await self.probe()
            return last[0] == status and words in last[1][check]["says"]

        try:
            await eventually(said, timeout, f"{status} of {self.child.name}, {check} says {words!r}", interval=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}\n{self.child.tail()}") from None


async def test_brokers_that_hang_make_both_services_unready_until_they_are_back(
    own_broker: Broker, tmp_path: Path
) -> None:
    settings = SandboxSettings(keys=keys_of([ACCOUNT]))
    async with site(own_broker, tmp_path / "site", settings) as place:
        await ensure_topics(place.config.kafka)
        async with Service(place, "poll", "gateway") as gateway, Service(place, "streams", "streams") as streams:
            both = (gateway, streams)
            await asyncio.gather(*(one.says(200) for one in both))
            assert own_broker.pid is not None
            os.kill(own_broker.pid, signal.SIGSTOP)
            try:
                await asyncio.gather(*(one.says(503, "kafka", "no answer for") for one in both))
                # Away is not dead: a restart would mend nothing.
                assert [(await one.probe("/livez"))[0] for one in both] == [200, 200]
            finally:
                os.kill(own_broker.pid, signal.SIGCONT)
            await asyncio.gather(*(one.says(200, "kafka", "the brokers answer") for one in both))
            await own_broker.kill()
            await asyncio.gather(*(one.says(503, "kafka", "no answer for") for one in both))
            await own_broker.restart()
            await asyncio.gather(*(one.says(200, "kafka", "the brokers answer", 90.0) for one in both))


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_a_replica_without_a_shard_stands_by_and_is_ready(broker: Broker, tmp_path: Path) -> None:
    settings = SandboxSettings(keys=keys_of([ACCOUNT]))
    async with (
        site(broker, tmp_path / "standby", settings, {"kafka": {"shards": 1}}) as place,
        Service(place, "poll", "first") as first,
    ):
        await first.says(200, "shards", "1 owned")
        async with Service(place, "poll", "second") as second:
            await eventually(lambda: _one_stands_by(first, second), 60.0, "one owns, one stands by", interval=0.2)
            assert first.child.pid is not None
            os.kill(first.child.pid, signal.SIGTERM)
            assert await first.child.wait(15.0) == 0
            await second.says(200, "shards", "1 owned")


async def _one_stands_by(*services: Service) -> bool:
    found = [await one.probe() for one in services]
    words = sorted(checks["shards"]["says"] for status, checks in found if status == 200)
    return words == ["1 owned", "standby: others own all shards"]
