"""Produces records so that none is lost: idempotent, acknowledged by all replicas in sync, retried until it is written."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import DefaultPartitioner, murmur2

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# A record that is larger is refused by a broker with default settings (message.max.bytes, 1 MiB). What becomes a
# delivery stays well below: on its way through the retry topics it grows by the fields that count its attempts.
MAX_RECORD_BYTES = 1024 * 1024
MAX_DELIVERY_BYTES = 900 * 1024


_default = DefaultPartitioner()


@functools.lru_cache(maxsize=4096)
def _hash(key: bytes) -> int:
    return int(murmur2(key) & 0x7FFFFFFF)


def partition_of(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """The partition that Kafka's default partitioner gives a key: its hash is made of the key's bytes one by one, in
    Python, and the same keys come again and again."""
    if key is None:
        return int(_default(key, partitions, available))
    return partitions[_hash(key) % len(partitions)]


class Outbox:
    """A producer shared by everything in a service that must not lose what it writes.

    aiokafka retries a batch of an idempotent producer for as long as the error is one that may pass, in order and
    without writing it twice. What is left as an error is final (not allowed, too large, fenced), and the caller must
    not go on as if the record had been written.
    """

    def __init__(
        self, bootstrap: str, client_id: str, *, linger_ms: int = 0, security: Mapping[str, Any] | None = None
    ) -> None:
        """Take the brokers (`host:port,…`), a name to be known by, and for how long records are gathered (ms).

        `security` is what aiokafka needs besides to be let in.
        """
        self._bootstrap = bootstrap
        self._security = security or {}
        self._client_id = client_id
        self._linger_ms = linger_ms
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: No broker can be reached.
        """
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap.split(","),
            **self._security,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=self._linger_ms,
            max_batch_size=128 * 1024,
            max_request_size=MAX_RECORD_BYTES,
            partitioner=partition_of,
        )
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            self._producer = None
            raise

    async def stop(self, timeout: float = 3.0) -> None:
        """Write what is left, for at most `timeout` seconds, and disconnect."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await producer.stop()
        except TimeoutError:
            _log.warning("the brokers did not take everything in time", client=self._client_id)
            await producer.client.close()

    async def flush(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds, until everything handed over is written; say whether it is."""
        if self._producer is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._producer.flush()
        except TimeoutError:
            return False
        return True

    async def enqueue(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> asyncio.Future[Any]:
        """Hand a record over; the future is done when it is written, or fails with a KafkaError that is final.

        Waits while the partition's batch is full. Raises KafkaError when the record can never be written.
        """
        while True:
            producer = self._producer
            if producer is None:
                raise RuntimeError("the outbox is not started")
            try:
                future: asyncio.Future[Any] = await producer.send(topic, value=value, key=key, headers=list(headers))
            except KafkaError as error:
                # A timeout says that the partition's batch stayed full: aiokafka has waited for 40 s already.
                if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                    raise
                _log.warning("a record waits for the brokers", topic=topic, kind=type(error).__name__)
                await asyncio.sleep(0.1)
            else:
                return future

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Write a record; returns when it is written.

        Raises:
            KafkaError: It can never be written.
        """
        await (await self.enqueue(topic, key, value, headers))
