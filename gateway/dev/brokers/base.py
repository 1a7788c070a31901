"""What every broker launcher can do, and how it is known that a broker is ready."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from gateway.dev.brokers.process import BrokerError, Child

Progress = Callable[[str], None]

# Kafka hands over its log within a second or two; a Ctrl-C must end everything within ten.
STOP_GRACE_SECONDS = 4.0
READY_SECONDS = 60.0


class Broker(Protocol):
    """A broker of our own on 127.0.0.1. As an async context manager it is started, ready, and stopped at the end.

    Start it in the main thread: the kernel ends it when the thread that started it ends (Linux).
    """

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients; the same over a restart."""

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""

    async def start(self) -> None:
        """Start and wait until it is ready; do nothing more when it runs already.

        Raises:
            BrokerError: It died, or was not ready in time; the end of its log is in the text.
        """

    async def ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait, at most `timeout` seconds, until it answers a client's question for metadata.

        Raises:
            BrokerError: It died or did not answer in time.
        """

    async def stop(self) -> None:
        """End it, in order if it can within 4 s, by SIGKILL after that. The data stay."""

    async def kill(self) -> None:
        """End it at once by SIGKILL. The data stay."""

    async def restart(self) -> None:
        """Start it again on the same port and data, stopping it first if it runs; wait until it is ready.

        Raises:
            BrokerError: As `start`.
        """

    async def __aenter__(self) -> Self:
        """Start it."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""


class ProcessBroker(Broker):
    """The part that all brokers in a child process share; a subclass prepares the child."""

    _child: Child | None = None

    def __init__(self, name: str, port: int, progress: Progress | None) -> None:
        """Take a name for messages, the port it will listen on, and who is told what is awaited."""
        self._name = name
        self._port = port
        self._progress = progress or (lambda _: None)

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._child.pid if self._child else None

    @abstractmethod
    async def _prepare(self) -> Child:
        """Make everything that a start needs; return the child, not yet running."""

    async def start(self) -> None:
        """See `Broker.start`."""
        if self._child is None:
            self._child = await self._prepare()
        self._progress(f"starting {self._name}…")
        self._child.spawn()
        try:
            await self.ready()
        except BaseException:
            await self._child.kill()
            raise

    async def ready(self, timeout: float = READY_SECONDS) -> None:
        """See `Broker.ready`."""
        child = self._child
        if child is None:
            raise BrokerError(f"{self._name} was not started")
        deadline = time.monotonic() + timeout
        while True:
            # Asked first: a broker that died is told apart from one that is slow.
            code = await child.wait(0)
            if code is not None:
                raise child.failure(f"ended at start with exit code {code}")
            left = deadline - time.monotonic()
            if await _answers(self.bootstrap, min(5.0, max(left, 0.1))):
                return
            if time.monotonic() >= deadline:
                raise child.failure(f"was not ready within {timeout:g} s")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """See `Broker.stop`."""
        if self._child is not None:
            await self._child.stop(STOP_GRACE_SECONDS)

    async def kill(self) -> None:
        """See `Broker.kill`."""
        if self._child is not None:
            await self._child.kill()

    async def restart(self) -> None:
        """See `Broker.restart`."""
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def _answers(bootstrap: str, seconds: float) -> bool:
    """Whether a broker listens there and describes its cluster within so many seconds."""
    host, _, port = bootstrap.rpartition(":")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        async with asyncio.timeout(seconds):
            # Tried first: the client logs an error for every refused connection.
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()
            await admin.start()
            return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
