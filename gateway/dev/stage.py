"""Sets the stage: broker, sandbox, gateway, streams and receiver, each a real process or server, and takes it down."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from gateway.config import Config, load
from gateway.dev.brokers import ApacheKafka, BrokerError, Child, EmbeddedBroker, apache_kafka_available, free_port
from gateway.dev.options import DevError, DevOptions
from gateway.dev.receiver import Arrival, Receiver
from gateway.runtime.kafka import delete_topics, ensure_topics
from gateway.runtime.metrics import READY

FIRST_ACCOUNT = 1000
# Brokers that the demo starts itself; any other is somebody's, and is left as it was found.
_OURS = ("embedded", "kafka")
_SHARDS = 8
_PARTITIONS = 4
_STOP_SECONDS = 4.0
_START_SECONDS = 60.0


class Stage:
    """Everything that the demo runs. Entering starts it, leaving ends it within 10 s, whatever state it is in."""

    def __init__(self, options: DevOptions, say: Callable[[str], None], told: Callable[[Arrival], None]) -> None:
        """`say` is given what is waited for; `told` each verified webhook."""
        self._options = options
        self._say = say
        self._secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
        self.receiver = Receiver(self._secret, told)
        self._children: list[Child] = []
        self._config: Config | None = None
        self.accounts = [FIRST_ACCOUNT + n for n in range(options.accounts)]

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
    def config(self) -> Config:
        """The configuration that the services run with; known once the stage is set."""
        if self._config is None:
            raise RuntimeError("the stage is not set")
        return self._config

    async def ledger(self) -> bytes:
        """The sandbox's ledger, as JSON."""
        return await self._ask("GET", "ledger")

    async def stats(self) -> Any:
        """What the sandbox was asked."""
        return msgspec.json.decode(await self._ask("GET", "stats"))

    async def place_calls(self, calls_per_minute: float) -> None:
        """Let the sandbox place calls at this rate; 0 stops, and calls under way go on to their end."""
        await self._ask("PUT", "traffic", {"calls_per_minute": calls_per_minute})

    def check(self) -> None:
        """Raise DevError when one of the processes has died."""
        for child in self._children:
            if not child.running:
                raise DevError(str(child.failure("ended by itself")))

    async def _set_up(self) -> None:
        stack = self._stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rcg-")))
        self._http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), trust_env=False)
        )
        bootstrap = await self._broker(stack)
        await self.receiver.start()
        stack.push_async_callback(self.receiver.stop)
        if self._options.broker not in _OURS:
            stack.push_async_callback(self._delete_topics)
        stack.push_async_callback(self._stop_children)
        self._url = await self._sandbox()
        self.config_file = self._write_config(bootstrap)
        self._config = load(self.config_file)
        self._say("creating the topics")
        await ensure_topics(self.config.kafka)
        self._spawn("gateway", "poll", str(self.config_file))
        self._spawn("streams", "streams", str(self.config_file))
        await self._ready("gateway", self.config.metrics.gateway)
        await self._ready("streams", self.config.metrics.streams)
        await self._polled()

    async def _broker(self, stack: AsyncExitStack) -> str:
        kind = self._options.broker
        broker: EmbeddedBroker | ApacheKafka
        if kind == "embedded":
            self._say("starting the embedded broker")
            broker = EmbeddedBroker(self.folder / "broker", self._say)
        elif kind == "kafka":
            if reason := apache_kafka_available():
                raise DevError(f"--broker kafka: {reason}")
            broker = ApacheKafka(self.folder / "broker", progress=self._say)
        else:
            return kind
        try:
            await stack.enter_async_context(broker)
        except BrokerError as error:
            raise DevError(str(error)) from None
        return broker.bootstrap

    async def _sandbox(self) -> str:
        self._say("starting the sandbox of RingCloud's API")
        self._keys = {account: (f"{account}_{secrets.token_hex(8)}", secrets.token_hex(8)) for account in self.accounts}
        port = free_port()
        pairs = [word for key, password in self._keys.values() for word in ("--key", key, "--password", password)]
        seed = ("--seed", str(self._options.seed))
        self._spawn("sandbox", "sandbox", "--port", str(port), "--profile", "live", *seed, *pairs)
        url = f"http://127.0.0.1:{port}"
        await self._until("the sandbox", lambda: self._answers(f"{url}/_sandbox/health"))
        return url

    def _write_config(self, bootstrap: str) -> Path:
        folder = self.folder
        for account, (key, password) in self._keys.items():
            _write_secret(folder / f"{account}.key", key)
            _write_secret(folder / f"{account}.password", password)
        _write_secret(folder / "webhook.secret", self._secret)
        document = {
            "kafka": {
                "bootstrap": bootstrap,
                # A broker of somebody else's keeps its other topics, and a second demo on it its own.
                "prefix": "ringcloud" if self._options.broker in _OURS else f"demo-{int(time.time())}",
                "shards": _SHARDS,
                "partitions": _PARTITIONS,
                "replication_factor": 1,
            },
            "ringcloud": {"base_url": self._url},
            "accounts": [
                {
                    "id": account,
                    "keys": [{"key": f"file:{folder}/{account}.key", "password": f"file:{folder}/{account}.password"}],
                }
                for account in self.accounts
            ],
            "endpoints": [
                {"id": "demo", "url": self.receiver.url, "secrets": [f"file:{folder}/webhook.secret"]},
            ],
            "delivery": {"allow_networks": ["127.0.0.0/8"], "allow_http": True},
            "metrics": {"gateway": f"127.0.0.1:{free_port()}", "streams": f"127.0.0.1:{free_port()}"},
        }
        path = folder / "gateway.toml"
        path.write_bytes(msgspec.toml.encode(document))
        return path

    def _spawn(self, name: str, *words: str) -> None:
        child = Child(name, [sys.executable, "-m", "gateway.cli", *words], self.folder / f"{name}.log")
        child.spawn()
        self._children.append(child)

    async def _stop_children(self) -> None:
        # The sandbox last: the others still ask it while they finish.
        first = [child for child in self._children if child.name != "sandbox"]
        await asyncio.gather(*(child.stop(_STOP_SECONDS) for child in first))
        await asyncio.gather(*(child.stop(1.0) for child in self._children))

    async def _delete_topics(self) -> None:
        if self._config is not None:
            await delete_topics(self._config.kafka)

    async def _ready(self, what: str, listen: str) -> None:
        async def ready() -> bool:
            try:
                async with self._http.get(f"http://{listen}/metrics") as response:
                    return f"{READY} 1.0" in await response.text()
            except aiohttp.ClientError:
                return False

        await self._until(f"the {what} service", ready)

    async def _polled(self) -> None:
        """Calls that end before an account's first poll are history to the gateway; so none is placed before it."""

        async def polled() -> bool:
            lanes = (await self.stats())["lanes"]
            seen = {(lane["key"], lane["path"].rpartition("/")[2]) for lane in lanes}
            return all({(key, "active"), (key, "complite")} <= seen for key, _ in self._keys.values())

        await self._until("each account's first polls (a new owner waits one interval)", polled)

    async def _until(self, what: str, condition: Callable[[], Any]) -> None:
        self._say(f"waiting for {what}")
        deadline = time.monotonic() + _START_SECONDS
        while not await condition():
            self.check()
            if time.monotonic() > deadline:
                raise DevError(f"{what} did not get ready within {_START_SECONDS:.0f} s; logs: {self._tails()}")
            await asyncio.sleep(0.1)

    def _tails(self) -> str:
        return "\n".join(f"--- {child.name}\n{child.tail()}" for child in self._children)

    async def _answers(self, url: str) -> bool:
        try:
            async with self._http.get(url) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _ask(self, method: str, what: str, body: Any = None) -> bytes:
        async with self._http.request(method, f"{self._url}/_sandbox/{what}", json=body) as response:
            response.raise_for_status()
            return await response.read()


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
