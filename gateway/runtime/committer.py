"""Group commit: everything that arrived while one transaction was in flight goes into the next (law 7 of the differ)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import perf_counter

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata
from prometheus_client import Histogram

from gateway.contract.events import Header

TRANSACTIONS = Histogram(
    "ringcloud_transaction_seconds",
    "From a transaction's begin to its commit",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
TRANSACTION_RECORDS = Histogram(
    "ringcloud_transaction_records",
    "Records in a transaction: events, state, results",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
COMMIT_WAIT = Histogram(
    "ringcloud_commit_wait_seconds",
    "From handing records in to their commit: the transaction before them and their own",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

# Brokers that don't answer an abort for this long abort by themselves, or when the shard's next owner comes.
_ABORT_SECONDS = 2.0


class Record(msgspec.Struct, frozen=True):
    """A record to be written; without a partition, the key decides."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Sequence[Header] = ()
    partition: int | None = None


class NotCommitted(Exception):
    """What was to be committed was not: the shard's producer failed, was fenced off or is closing."""


class _Waiting(msgspec.Struct):
    records: Sequence[Record]
    offsets: Mapping[TopicPartition, int]
    done: asyncio.Future[None]
    since: float


class Committer:
    """Writes a shard's records through its transactional producer, in the order in which they were handed in.

    There is no window to wait for and no transaction an account: a commit takes all that is there. The producer's
    transactional id is the shard's, so a former owner that wakes up is fenced off by the brokers.
    """

    def __init__(self, producer: AIOKafkaProducer, group: str) -> None:
        self._producer = producer
        self._group = group
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._failed: BaseException | None = None

    async def commit(self, records: Sequence[Record], offsets: Mapping[TopicPartition, int] | None = None) -> None:
        """Return once `records`, and `offsets` of the consumer group with them, are committed.

        Raises NotCommitted where they were not, and never will be by this committer.
        """
        if self._failed is not None:
            raise NotCommitted(str(self._failed)) from self._failed
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(records, offsets or {}, done, perf_counter()))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Commit until cancelled. Raises NotCommitted when a transaction fails: the shard's state must be read anew."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch, self._waiting = self._waiting, []
                if batch:
                    await self._transaction(batch)
        except BaseException as error:
            self._fail(error)
            if isinstance(error, Exception):
                raise NotCommitted(f"{type(error).__name__}: {error}") from error
            raise

    async def _transaction(self, batch: list[_Waiting]) -> None:
        began = perf_counter()
        try:
            await self._commit(batch)
        except BaseException as error:
            for one in batch:
                _give_up(one, error)
            raise
        ended = perf_counter()
        TRANSACTIONS.observe(ended - began)
        TRANSACTION_RECORDS.observe(sum(len(one.records) for one in batch))
        for one in batch:
            COMMIT_WAIT.observe(ended - one.since)
            if not one.done.done():
                one.done.set_result(None)

    async def _commit(self, batch: list[_Waiting]) -> None:
        await self._producer.begin_transaction()
        try:
            await self._write(batch)
        except BaseException:
            # Left open it would hold up readers until it times out. aiokafka asserts that it is not fenced off.
            with suppress(KafkaError, TimeoutError, AssertionError):
                async with asyncio.timeout(_ABORT_SECONDS):
                    await self._producer.abort_transaction()
            raise
        await self._producer.commit_transaction()

    async def _write(self, batch: list[_Waiting]) -> None:
        offsets: dict[TopicPartition, int] = {}
        written: list[asyncio.Future[RecordMetadata]] = []
        for one in batch:
            for record in one.records:
                future = await self._producer.send(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                )
                future.add_done_callback(_retrieve)
                written.append(future)
            offsets.update(one.offsets)
        if offsets:
            await self._producer.send_offsets_to_transaction(offsets, self._group)
        # A record that the brokers refuse doesn't fail aiokafka's transaction: it would commit the rest without it.
        await asyncio.gather(*written)

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        for one in self._waiting:
            _give_up(one, error)
        self._waiting.clear()


def _retrieve(future: asyncio.Future[RecordMetadata]) -> None:
    """Take note of a record's error: the first one of a batch is raised, and nobody asks for the others."""
    if not future.cancelled():
        future.exception()


def _give_up(one: _Waiting, error: BaseException) -> None:
    if not one.done.done():
        one.done.set_exception(NotCommitted(f"{type(error).__name__}: {error}"))
        # Whoever waited may be gone already; the error is the shard's, which reports it.
        one.done.exception()
