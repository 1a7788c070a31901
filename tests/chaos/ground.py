"""Where a run takes place: Kafka, the sandbox, two gateways, the streams and a receiver of webhooks."""

import asyncio
import os
import random
import re
import secrets
import signal
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from gateway.config import load
from gateway.dev.brokers import ApacheKafka, Child, free_port
from gateway.dev.receiver import Arrival, Receiver
from gateway.runtime.kafka import ensure_topics
from gateway.runtime.metrics import READY
from sandbox.ledger import LedgerRecord
from sandbox.settings import KeySpec, SandboxSettings, TrafficProfile
from sandbox.stats import StatsReport
from tests.chaos.options import Options
from tests.chaos.plan import SESSION
from tests.support.waiting import eventually

PREFIX = "ringcloud"
FIRST_ACCOUNT = 1000
SHARDS = 8
PARTITIONS = 4
# Seconds until the watch starts a process again that ended by itself.
_RESTART_SECONDS = 1.0
_READY_SECONDS = 90.0


class Service:
    """A process of ours: who is meant to run is started again when it ends by itself, and that is counted."""

    def __init__(self, name: str, words: list[str], log: Path, metrics: str) -> None:
        """Take its name, what `ringcloud-gateway` is given, its log, and where its metrics are."""
        self.name = name
        self.log = log
        self.metrics = metrics
        # How often it ended without being asked, by the last line of its log.
        self.ended: Counter[str] = Counter()
        # Held by whoever hits it.
        self.busy = asyncio.Lock()
        self._child = Child(name, [sys.executable, "-m", *words], log)
        self._wanted = False

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid

    def start(self) -> None:
        """Start it, and from now on start it again."""
        self._wanted = True
        self._child.spawn()

    async def kill(self) -> None:
        """End it by SIGKILL, and leave it so."""
        self._wanted = False
        await self._child.kill()

    async def stop(self, seconds: float) -> bool:
        """End it by SIGTERM and leave it so; whether it obeyed within that long."""
        self._wanted = False
        if (pid := self._child.pid) is not None:
            os.kill(pid, signal.SIGTERM)
        code = await self._child.wait(seconds)
        await self._child.kill()
        # One that has only begun to start has no handler yet.
        return code in (0, -signal.SIGTERM)

    async def watch(self) -> None:
        """Start it again whenever it has ended by itself, until cancelled."""
        while True:
            await asyncio.sleep(0.1)
            if self._wanted and not self._child.running:
                code = await self._child.wait(0)
                last = re.sub(r"\d{4,}", "…", self._child.tail().rpartition("\n")[2])
                self.ended[f"{self.name} ended by itself with {code}: {last}"] += 1
                await asyncio.sleep(_RESTART_SECONDS)
                if self._wanted:
                    self._child.spawn()

    async def ready(self, http: aiohttp.ClientSession) -> bool:
        """Whether it has its partitions."""
        try:
            async with http.get(f"http://{self.metrics}/metrics") as answer:
                return f"{READY} 1.0" in await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return False


class Ground:
    """Everything that runs. Entering starts it and returns when it works; leaving ends it."""

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None]) -> None:
        """Take what to run, an empty folder for data, logs and secrets, and who is told what is waited for."""
        self._options = options
        self._say = say
        self.folder = folder
        rng = random.Random(f"{options.seed}/keys")
        self.accounts = [FIRST_ACCOUNT + n for n in range(options.accounts)]
        # Long enough to be found in a log by nothing but a leak.
        self.keys = {account: (f"{account}_{secrets.token_hex(8)}", secrets.token_hex(8)) for account in self.accounts}
        self.skews = {
            account: round(rng.uniform(-590, 590)) if n % 3 == 2 else 0 for n, account in enumerate(self.accounts)
        }
        self.webhook_secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
        self.arrivals: list[Arrival] = []
        self.receiver = Receiver(self.webhook_secret, self.arrivals.append)
        self.broker = ApacheKafka(folder / "kafka")
        self.services: dict[str, Service] = {}

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        try:
            await self._set_up()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def logs(self) -> list[Path]:
        """Every log that was written, the broker's among them."""
        return sorted([*self.folder.glob("*.log"), self.folder / "kafka" / "broker.log"])

    async def ledger(self) -> list[LedgerRecord]:
        """What truly happened so far."""
        return msgspec.json.decode(await self.ask("GET", "ledger"), type=list[LedgerRecord])

    async def stats(self) -> StatsReport:
        """What the sandbox was asked."""
        return msgspec.json.decode(await self.ask("GET", "stats"), type=StatsReport)

    async def ask(self, method: str, what: str, body: object = None) -> bytes:
        """Ask the sandbox itself."""
        async with self.http.request(
            method, f"{self._url}/_sandbox/{what}", data=None if body is None else msgspec.json.encode(body)
        ) as answer:
            found = await answer.read()
            assert answer.status == 200, found
            return found

    async def ready(self) -> None:
        """Wait until every service has its partitions."""
        for service in self.services.values():
            self._say(f"waiting for {service.name}")
            await eventually(partial(service.ready, self.http), _READY_SECONDS, f"{service.name} is ready", 0.2)

    async def _set_up(self) -> None:
        stack = self._stack
        self.http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), trust_env=False)
        )
        self._say("starting Apache Kafka")
        await stack.enter_async_context(self.broker)
        await self.receiver.start()
        stack.push_async_callback(self.receiver.stop)
        await self._start_sandbox()
        configs = [self._write_config(name) for name in ("gateway-1", "gateway-2", "streams")]
        await ensure_topics(load(configs[0][0]).kafka)
        for name, (path, metrics) in zip(("gateway-1", "gateway-2", "streams"), configs, strict=True):
            command = "streams" if name == "streams" else "poll"
            service = Service(name, ["gateway.cli", command, str(path)], self.folder / f"{name}.log", metrics)
            self.services[name] = service
            stack.push_async_callback(service.kill)
            service.start()
        await self.ready()
        self._say("waiting for each account's first polls")
        # Calls that end before an account's first poll are history to the gateway; so none is placed before it.
        await eventually(self._polled, _READY_SECONDS, "each account was polled", 0.5)

    async def _polled(self) -> bool:
        seen = {(lane.key, lane.path.rpartition("/")[2]) for lane in (await self.stats()).lanes if lane.accepted}
        return all({(key, "active"), (key, "complite")} <= seen for key, _ in self.keys.values())

    async def _start_sandbox(self) -> None:
        options = self._options
        settings = SandboxSettings(
            keys=[KeySpec(key, password) for key, password in self.keys.values()],
            seed=options.seed,
            profile="live",
            traffic=TrafficProfile(
                ring_ms=(500, 5_000),
                talk_ms=(500, round(options.longest * 1000)),
                talk_mean_ms=6_000,
                no_answer_ms=(1_000, 12_000),
                short_share=0.3,
                short_ms=(50, 2_000),
                twin_share=options.twin_share,
            ),
        )
        file, port = self.folder / "sandbox.json", free_port()
        file.write_bytes(msgspec.json.encode(settings))
        child = Child(
            "the sandbox",
            [sys.executable, "-m", "tests.chaos.sandbox", str(file), str(port)],
            self.folder / "sandbox.log",
        )
        await self._stack.enter_async_context(child)
        self._url = f"http://127.0.0.1:{port}"

        async def answers() -> bool:
            assert child.running, child.failure("ended by itself")
            try:
                await self.ask("GET", "health")
            except aiohttp.ClientError:
                return False
            return True

        await eventually(answers, 30.0, "the sandbox answers", 0.1)
        for n, (account, seconds) in enumerate(self.skews.items()):
            await self.ask("PUT", "skew", {"account": account, "seconds": seconds})
            if n % 5 == 4:
                await self.ask("PUT", "late", {"account": account, "shortest_ms": 500, "longest_ms": 15_000})

    def _write_config(self, name: str) -> tuple[Path, str]:
        metrics = f"127.0.0.1:{free_port()}"
        document: dict[str, Any] = {
            "kafka": {
                "bootstrap": self.broker.bootstrap,
                "prefix": PREFIX,
                "shards": SHARDS,
                "partitions": PARTITIONS,
                "replication_factor": 1,
                "session_timeout": SESSION,
            },
            "ringcloud": {"base_url": self._url},
            "accounts": [
                {
                    "id": account,
                    "keys": [
                        {
                            "key": self._secret(f"{account}.key", key),
                            "password": self._secret(f"{account}.password", password),
                        }
                    ],
                }
                for account, (key, password) in self.keys.items()
            ],
            "endpoints": [
                {
                    "id": "chaos",
                    "url": self.receiver.url,
                    "secrets": [self._secret("webhook.secret", self.webhook_secret)],
                }
            ],
            "delivery": {"allow_networks": ["127.0.0.0/8"], "allow_http": True},
            "metrics": {"streams" if name == "streams" else "gateway": metrics},
        }
        path = self.folder / f"{name}.toml"
        path.write_bytes(msgspec.toml.encode(document))
        return path, metrics

    def _secret(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return f"file:{path}"
