"""What a run of stops watches: the services and their figures, requests on the wire, hooks, and open transactions."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.dev.brokers import Child, free_port
from gateway.runtime.metrics import READY
from sandbox.server import SandboxServer
from tests.chaos.drain_judge import Request
from tests.chaos.report import ROOT
from tests.support.gateway import Site
from tests.support.kafka import admin_client
from tests.support.waiting import eventually
from tests.support.webhooks import SECRET, Receiver, secret_file

_READY_SECONDS = 90.0
# How endpoints behave: seconds until they answer, and how often they refuse.
_HABITS: dict[str, tuple[tuple[float, float], float]] = {
    "plain": ((0.0, 0.0), 0.0),
    "slow": ((0.3, 1.5), 0.0),
    "flaky": ((0.0, 0.2), 0.3),
    "kept": ((0.0, 0.3), 0.0),
}
# Answers of `stuck` that take longer than a worker waits when it is told to end.
_STUCK = ((7.0, 9.0), 0.15)
ENDPOINTS = (*_HABITS, "stuck")


def grace(service: str) -> float:
    """Seconds that Kubernetes gives the service to end: the chart's default."""
    values = yaml.safe_load((ROOT / "deploy/helm/ringcloud-gateway/values.yaml").read_text())
    return float(values[service]["terminationGracePeriodSeconds"])


class Process:
    """A service of a site as a process, with temporary files of its own."""

    def __init__(self, place: Site, service: str, http: aiohttp.ClientSession) -> None:
        """Take `gateway` or `streams`; not started."""
        self.service = service
        self._http = http
        self._listen = f"127.0.0.1:{free_port()}"
        self.temporary = place.folder / f"{service}-tmp"
        self.temporary.mkdir()
        path = place.folder / f"{service}.toml"
        path.write_bytes(msgspec.toml.encode({**place.document, "metrics": {service: self._listen}}))
        words = [sys.executable, "-m", "gateway.cli", "poll" if service == "gateway" else "streams", str(path)]
        # What is not closed is told of in the log.
        env = {"TMPDIR": str(self.temporary), "PYTHONWARNINGS": "always::ResourceWarning"}
        self.child = Child(service, words, place.folder / f"{service}.log", env)

    async def start(self) -> None:
        """Start it; return once it is ready."""
        self.child.spawn()
        await eventually(self._ready, _READY_SECONDS, f"{self.service} is ready", 0.1)

    def tell(self) -> None:
        """Send SIGTERM."""
        pid = self.child.pid
        assert pid is not None, self.child.failure("ended by itself")
        os.kill(pid, signal.SIGTERM)

    async def figures(self) -> dict[str, float]:
        """Its own figures by name, all labels added up."""
        async with self._http.get(f"http://{self._listen}/metrics") as answer:
            text = await answer.text()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    async def stopping(self) -> bool:
        """it has heard that it is to end"""
        if not self.child.running:
            return True
        try:
            async with self._http.get(f"http://{self._listen}/readyz") as answer:
                return "stopping" in await answer.text()
        except aiohttp.ClientError:
            return False

    async def _ready(self) -> bool:
        assert self.child.running, self.child.failure("ended by itself")
        try:
            return (await self.figures()).get(READY) == 1.0
        except aiohttp.ClientError:
            return False


class Wire:
    """Requests on the wire between the gateway and a sandbox of this process: those that came and got no answer yet."""

    def __init__(self, sandbox: SandboxServer) -> None:
        self._sandbox = sandbox
        # Those that nobody waits for any more.
        self._cut = {True: 0, False: 0}

    def under_way(self, *, polls: bool) -> int:
        """How many: of GET (`polls`), or of everything else."""
        return self._unanswered(polls) - self._cut[polls]

    def answered(self) -> int:
        """How many polls were answered so far."""
        return sum(one.count for one in self._sandbox.stats.report().requests if one.method == "GET")

    def forget(self, *, polls: bool) -> int:
        """The process is gone: what is under way gets no answer. How many those are."""
        cut = self.under_way(polls=polls)
        self._cut[polls] += cut
        return cut

    def _unanswered(self, polls: bool) -> int:
        report = self._sandbox.stats.report()
        came = sum(one.accepted + one.rejected for one in report.lanes if (one.method == "GET") is polls)
        return came - sum(one.count for one in report.requests if (one.method == "GET") is polls)


@dataclass
class Hooks:
    """The endpoints' behaviour at a receiver, and every request for a delivery."""

    seed: int
    now: Callable[[], int]
    # From then on all answer at once, and none refuses.
    calm: bool = False
    requests: list[Request] = field(default_factory=list)
    waiting: dict[int, Request] = field(default_factory=dict)
    # Of webhooks whose signature was wrong, in words.
    refused: list[str] = field(default_factory=list)

    def behave_at(self, there: Receiver) -> None:
        """Let each endpoint's path behave as it is to."""
        for name in ENDPOINTS:
            there.behaviours[f"/{name}"] = self._at(name, random.Random(f"{self.seed}/{name}"))

    def all(self) -> list[Request]:
        """Every request, also those that are not answered."""
        return [*self.requests, *self.waiting.values()]

    def _at(self, name: str, rng: random.Random) -> Callable[[web.Request, bytes], Any]:
        async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
            try:
                Webhook(SECRET).verify(body, {key.lower(): value for key, value in request.headers.items()})
            except WebhookVerificationError as error:
                self.refused.append(f"{name}: {error}")
                return web.Response(status=401)
            came = Request(name, request.headers["webhook-id"], self.now(), None, 0)
            self.waiting[id(request)] = came
            takes, refuses = _HABITS.get(name, ((0.0, 0.0), 0.0))
            if name == "stuck" and rng.random() < _STUCK[1]:
                takes = _STUCK[0]
            seconds, refused = rng.uniform(*takes), rng.random() < refuses
            if not self.calm:
                await asyncio.sleep(seconds)
            status = 503 if refused and not self.calm else 200
            del self.waiting[id(request)]
            self.requests.append(replace(came, answered=self.now(), status=status))
            return web.Response(status=status)

        return behave


def sections(there: Receiver, folder: Path) -> dict[str, Any]:
    """What a site's configuration says of endpoints, delivery and logs."""
    more: dict[str, dict[str, Any]] = {
        "slow": {"concurrency": 4},
        "flaky": {"retries": [5] * 20},
        "kept": {"ordering": "call"},
    }
    secret = secret_file(folder)
    return {
        "endpoints": [
            {"id": name, "url": there.url(f"/{name}"), "secrets": [secret], **more.get(name, {})} for name in ENDPOINTS
        ],
        "delivery": {"allow_networks": ["127.0.0.0/8"], "allow_http": True},
        "log": {"format": "json"},
    }


class Ends:
    """Where partitions end for those who read committed, and for the others: between the two a transaction is open."""

    def __init__(self, bootstrap: str, partitions: Sequence[TopicPartition]) -> None:
        """Take the partitions to look at; to be entered."""
        self._partitions = list(partitions)
        self._stable = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
        self._high = AIOKafkaConsumer(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> "Ends":
        await asyncio.gather(self._stable.start(), self._high.start())
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(self._stable.stop(), self._high.stop())

    async def open(self) -> tuple[tuple[TopicPartition, int], ...]:
        """Where each open transaction begins."""
        # In this order: one that ends in between is not taken for open.
        high = await self._high.end_offsets(self._partitions)
        stable = await self._stable.end_offsets(self._partitions)
        return tuple((one, stable[one]) for one in self._partitions if stable[one] < high[one])


async def members(bootstrap: str, groups: Sequence[str]) -> list[str]:
    """The members that groups still have, in words."""
    async with admin_client(bootstrap) as admin:
        # One at a time: aiokafka misreads an answer on several.
        answers = [answer for group in groups for answer in await admin.describe_consumer_groups([group])]
    return [f"{group}: a member is left" for one in answers for _, group, *_, found in one.groups for _ in found]
