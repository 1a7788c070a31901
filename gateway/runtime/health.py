"""Whether the process lives and is ready: what /livez and /readyz say, and why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

# Seconds. A loop that has not turned for so long hangs: heartbeats are due more often than that.
LOOP_SECONDS = 15.0
# Seconds without an answer of the brokers after which they count as away. Shorter than that is a leader's change.
BROKERS_SECONDS = 10.0
_BEAT = 0.5
_ASK_EVERY = 2.0
_ANSWER_WITHIN = 3.0


class Finding(NamedTuple):
    """What a check found: whether it is well, and in words how it stands."""

    ok: bool
    says: str


class Health:
    """The checks of a process by name. Asked from the thread that serves the probes; told of from the loop's."""

    def __init__(self, *checks: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the names of all checks: each is wanting until it is given. `clock`: seconds that only go forward."""
        self._clock = clock
        self._checks: dict[str, Callable[[], Finding]] = dict.fromkeys(checks, _not_begun)
        self._turned: float | None = None
        self._stopping = False

    def give(self, name: str, check: Callable[[], Finding]) -> None:
        """Let `check` answer under `name`, from now on. It is called from another thread: it looks, and awaits nothing.

        Raises KeyError where the name was not announced.
        """
        if name not in self._checks:
            raise KeyError(name)
        self._checks[name] = check

    def live(self) -> Finding:
        """Whether the event loop turns. A process that stops lives until it is gone."""
        if self._stopping or self._turned is None:
            return Finding(True, "stopping" if self._stopping else "starting")
        since = self._clock() - self._turned
        if since < LOOP_SECONDS:
            return Finding(True, "the event loop turns")
        return Finding(False, f"the event loop last turned {since:.1f} s ago")

    def findings(self) -> dict[str, Finding]:
        """Every check's finding, the event loop's among them."""
        found = {name: check() for name, check in list(self._checks.items())}
        found["loop"] = self.live()
        if self._stopping:
            found["loop"] = Finding(False, "stopping: what is under way is finished")
        return found

    @property
    def ready(self) -> bool:
        """Whether every check is well."""
        return all(one.ok for one in self.findings().values())

    async def run(self) -> None:
        """Note that the loop turns, until cancelled; from then on the process is stopping, and not ready."""
        try:
            while True:
                self._turned = self._clock()
                await asyncio.sleep(_BEAT)
        finally:
            self._stopping = True


class Brokers:
    """Whether the brokers answer: asked for their metadata every 2 s, on a connection of its own.

    What the service itself has under way says less: a heartbeat that waits for its answer, or a shard without calls,
    looks the same whether brokers are there or not.
    """

    def __init__(self, settings: dict[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        """Take what an aiokafka client is made with. `clock`: seconds that only go forward."""
        self._settings = settings
        self._clock = clock
        self._answered: float | None = None
        self._error = ""

    def finding(self) -> Finding:
        """Whether an answer came within the last 10 s."""
        if self._answered is None:
            return Finding(False, self._error or "not asked yet")
        since = self._clock() - self._answered
        if since < BROKERS_SECONDS:
            return Finding(True, "the brokers answer")
        return Finding(False, f"no answer for {since:.1f} s: {self._error or 'still waiting'}")

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            # Made anew after each failure, so that addresses that have changed are looked up again.
            client = AIOKafkaClient(**self._settings, request_timeout_ms=int(_ANSWER_WITHIN * 1000))
            try:
                await self._ask(client)
            except (KafkaError, OSError, TimeoutError) as error:
                self._error = type(error).__name__
            finally:
                await client.close()
            await asyncio.sleep(_ASK_EVERY)

    async def _ask(self, client: AIOKafkaClient) -> None:
        """Ask until it fails. Raises KafkaError, OSError, TimeoutError."""
        async with asyncio.timeout(_ANSWER_WITHIN):
            await client.bootstrap()
        while True:
            self._answered = self._clock()
            await asyncio.sleep(_ASK_EVERY)
            async with asyncio.timeout(_ANSWER_WITHIN):
                # Of no topic: the brokers' addresses are all that is asked for.
                await client.send(client.get_random_node(), MetadataRequest([]))


def _not_begun() -> Finding:
    return Finding(False, "starting")
