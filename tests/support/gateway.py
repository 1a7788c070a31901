"""Gateways as processes, over a sandbox in this one: what they were asked to watch, and what they told of it."""

import asyncio
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import aiohttp
import msgspec
from aiokafka import ConsumerRecord
from aiokafka.protocol.group import LeaveGroupRequest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat

from gateway.config import Config, load
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker, Child, EmbeddedBroker, free_port
from gateway.runtime.metrics import READY
from sandbox.audit import Received, Report, audit
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings
from tests.support.kafka import admin_client, read_all
from tests.support.waiting import eventually

T = TypeVar("T")
U = TypeVar("U")

# What must never stand in a gateway's log: signs of something that was forgotten or not expected.
_MISHAPS = ("Traceback", "never retrieved", "Unclosed", "was destroyed", "Unexpected error")


class Gateway:
    """One `ringcloud-gateway poll` process."""

    def __init__(self, config_file: Path, listen: str, log: Path) -> None:
        self.config_file = config_file
        self._listen = listen
        self._child = Child("the gateway", [sys.executable, "-m", "gateway.cli", "poll", str(config_file)], log)

    @property
    def pid(self) -> int:
        """Its process id."""
        pid = self._child.pid
        assert pid is not None, self._child.failure("is not running")
        return pid

    async def start(self) -> None:
        """Start it; return once it has its shards."""
        self.spawn()
        await eventually(self.ready, 60.0, "the gateway is ready", interval=0.1)

    def spawn(self) -> None:
        """Start it."""
        self._child.spawn()

    async def ready(self) -> bool:
        """Whether it has its shards. AssertionError once it has ended."""
        return f"{READY} 1.0" in await self.metrics()

    async def metrics(self) -> str:
        """What /metrics says; empty while it doesn't listen."""
        assert self._child.running, self._child.failure("ended by itself")
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://{self._listen}/metrics") as response:
                text: str = await response.text()
                return text
        except aiohttp.ClientError:
            return ""

    async def shards(self) -> int:
        """How many shards it owns by its own account."""
        return round(await self.metric("ringcloud_shards_owned"))

    async def metric(self, sample: str) -> float:
        """A sample by its name with labels, as it is written; 0 where there is none."""
        return next(
            (float(line.rsplit(" ", 1)[1]) for line in (await self.metrics()).splitlines() if line.startswith(sample)),
            0.0,
        )

    async def stop(self) -> None:
        """End it by SIGTERM, which it obeys within seconds and with exit code 0."""
        os.kill(self.pid, signal.SIGTERM)
        code = await self._child.wait(15.0)
        assert code == 0, self._child.failure(f"ended with {code}")

    async def kill(self) -> None:
        """End it by SIGKILL."""
        await self._child.kill()

    def log(self) -> str:
        """All it has logged, in all its lives."""
        return self._child.log.read_text()

    def mishaps(self) -> list[str]:
        """The lines of its log that should not be there."""
        return [line for line in self.log().splitlines() if any(sign in line for sign in _MISHAPS)]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._child.kill()


@dataclass
class Site:
    """A sandbox, and what its gateways write."""

    broker: Broker
    folder: Path
    sandbox: SandboxServer
    document: dict[str, Any]
    config: Config
    topics: Topics

    def gateway(self, name: str = "gateway", without: int | None = None) -> Gateway:
        """A gateway of this site, not started; `without` an account that the others have."""
        listen = f"127.0.0.1:{free_port()}"
        path = self.folder / f"{name}.toml"
        accounts = [account for account in self.document["accounts"] if account["id"] != without]
        document = {**self.document, "accounts": accounts, "metrics": {"gateway": listen}}
        path.write_bytes(msgspec.toml.encode(document))
        return Gateway(path, listen, self.folder / f"{name}.log")

    def polls(self, account: int, url: str = "active") -> int:
        """How often an account's list (`active`, `complite`) was asked for."""
        return next(
            (
                lane.accepted
                for lane in self.sandbox.stats.report().lanes
                if lane.key == key_of(account) and lane.path.endswith(url)
            ),
            0,
        )

    async def polled(self, *accounts: int, times: int = 1, pause: float = 0.0) -> None:
        """Wait until both lists of these accounts (of all, without any) were asked for `times` times from now.

        `pause`: seconds for which nothing may be asked at all.
        """
        wanted = {
            (account, url): self.polls(account, url) + times
            for account in accounts or self.sandbox.pbx.accounts
            for url in ("active", "complite")
        }

        def asked() -> bool:
            """each list was asked for"""
            return all(self.polls(*which) >= count for which, count in wanted.items())

        await eventually(asked, 15.0 + 6.0 * times + pause, interval=0.02)

    async def members(self) -> set[str]:
        """The ids of the group's members."""
        async with admin_client(self.broker.bootstrap) as admin:
            (answer,) = await admin.describe_consumer_groups([self._group])
        return {member[0] for *_, members in answer.groups for member in members}

    async def miss(self, members: set[str]) -> None:
        """Let the broker miss members that don't answer any more: a real one does when their session is over.

        The embedded one never does, so they are signed off for it.
        """
        if not isinstance(self.broker, EmbeddedBroker):
            return
        async with admin_client(self.broker.bootstrap) as admin:
            for member in members:
                await admin._send_request(LeaveGroupRequest(self._group, member))

    async def records(self) -> list[ConsumerRecord]:
        """The committed records of the topic of calls."""
        return await read_all(self.broker.bootstrap, self.topics.calls.name)

    async def told(self) -> list[Received]:
        """The committed call events."""
        return [Received(structured(record), record.timestamp) for record in await self.records()]

    async def report(self) -> Report:
        """What was told against what happened."""
        return audit(self.sandbox.pbx.ledger.records(), await self.told())

    @property
    def _group(self) -> str:
        return f"{self.config.kafka.prefix}-gateway"

    async def all_told(self, timeout: float = 60.0) -> None:
        """Wait until every call of the sandbox has ended and its end was told."""

        async def ended() -> bool:
            """every call's end was told"""
            calls = self.sandbox.pbx.ledger.records()
            if any(call.ended_at is None for call in calls):
                return False
            told = [one for one in await self.told() if one.event["type"] == "call.ended"]
            return len(told) >= len(calls)

        await eventually(ended, timeout, interval=0.5)


@asynccontextmanager
async def site(
    broker: Broker,
    folder: Path,
    settings: SandboxSettings,
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[Site]:
    """A running sandbox of `settings`, and a configuration for gateways on it; topics begin as `folder` ends."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 - once, before anything runs
    async with SandboxServer(settings) as sandbox:
        given = config or {}
        prefix = "-".join(folder.parts[-3:])
        document: dict[str, Any] = {
            "kafka": {
                "bootstrap": broker.bootstrap,
                "prefix": prefix,
                "shards": 3,
                "partitions": 3,
                "replication_factor": 1,
                "session_timeout": 6,
                **given.get("kafka", {}),
            },
            "ringcloud": {"base_url": sandbox.url, **given.get("ringcloud", {})},
            "calls": given.get("calls", {}),
            "accounts": [
                {
                    "id": account,
                    "keys": [
                        {name: _secret(folder, spec, name) for name in ("key", "password")}
                        for spec in settings.keys
                        if spec.account == account
                    ],
                }
                for account in dict.fromkeys(spec.account for spec in settings.keys)
            ],
        }
        path = folder / "site.toml"
        path.write_bytes(msgspec.toml.encode(document))
        yield Site(broker, folder, sandbox, document, load(path), Topics(prefix))


def key_of(account: int) -> str:
    """The API key of an account of a site."""
    return f"{account}_the-key-of-it"


def keys_of(accounts: Sequence[int]) -> list[KeySpec]:
    """The keys and passwords of accounts of a site."""
    return [KeySpec(key_of(account), f"the-password-of-{account}") for account in accounts]


def structured(record: ConsumerRecord) -> dict[str, Any]:
    """A record as the CloudEvents SDK reads it in binary mode and writes it in structured JSON. Raises what it raises."""
    event = from_binary_event(KafkaMessage(dict(record.headers), record.key, record.value))
    found: dict[str, Any] = json.loads(JSONFormat().write(event))
    return found


def lives(received: Sequence[Received]) -> dict[str, list[dict[str, Any]]]:
    """The events of each call by its id, in the order in which they were written."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in received:
        found[one.event["subject"]].append(one.event)
    return dict(found)


class Runs(Generic[T]):
    """What each scenario gave on each broker."""

    def __init__(self, outcomes: Mapping[tuple[str, str], T | BaseException]) -> None:
        self._outcomes = outcomes

    def of(self, broker: str, scenario: str) -> T:
        """What this scenario gave on this broker. Raises what it raised."""
        found = self._outcomes[broker, scenario]
        if isinstance(found, BaseException):
            raise found
        return found


def run_on_each(
    brokers: Mapping[str, Broker], folder: Path, **scenarios: Callable[[Broker, Path], Awaitable[T]]
) -> Runs[T]:
    """Run scenarios (they mostly wait) all at once, on each broker, in a folder of its own; not in a running loop."""
    each = {(broker, name): run for broker in brokers for name, run in scenarios.items()}

    async def run() -> list[T | BaseException]:
        return await asyncio.gather(
            *(run(brokers[broker], folder / broker / name) for (broker, name), run in each.items()),
            return_exceptions=True,
        )

    return Runs(dict(zip(each, _apart(run()), strict=True)))


def _apart(coroutine: Coroutine[Any, Any, U]) -> U:
    """Run in a loop of its own, without a trace in this thread's."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _secret(folder: Path, spec: KeySpec, name: str) -> str:
    path = folder / f"{spec.key}.{name}"
    path.write_text(getattr(spec, name))
    return f"file:{path}"
