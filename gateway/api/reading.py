"""Reads the log topics straight from Kafka: newest first by page, or forward from a time or an offset. Keeps nothing."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import murmur2

from gateway.api.problems import Problem
from gateway.config import KafkaConfig
from gateway.contract.times import millis
from gateway.contract.topics import Topic
from gateway.runtime.kafka import client_settings, stop_consumer, width_of

Item = TypeVar("Item")

# Requests that read from the brokers at once; the others wait.
_AT_ONCE = 4
# Seconds for the brokers to answer, and for a page as a whole.
_CONNECT, _PAGE = 5.0, 20.0
# Records of a partition that are read at a time, backwards: few at first, more where few are wanted.
_FIRST_CHUNK, _LONGEST_CHUNK = 64, 2048
# Records that are looked at for a page. Where it is not full by then, its cursor goes on.
MOST_SCANNED = 20_000

Span = tuple[int, int]  # offsets: from, and up to but without
# What is wanted of a record; None: it is not wanted.
Wanted = Callable[[ConsumerRecord], Item | None]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """What was found, newest first, and where to go on; None at the end of what the topic keeps."""

    items: list[Item]
    next: str | None


@dataclass
class _Backwards(Generic[Item]):
    """A partition that is read backwards."""

    begin: int
    below: int  # everything from here on was read
    chunk: int = _FIRST_CHUNK
    # Of what was read and is not given yet: when it was written, its offset and what is wanted of it; newest last.
    found: deque[tuple[int, int, Item]] = field(default_factory=deque)

    @property
    def hungry(self) -> bool:
        return not self.found and self.below > self.begin

    @property
    def at(self) -> int:
        """Where the next page begins: everything from here on was given, or is not wanted."""
        return self.found[-1][1] + 1 if self.found else self.below


class Reader:
    """Reads with a consumer a request, in no group."""

    def __init__(self, config: KafkaConfig) -> None:
        """Take the brokers."""
        self._config = config
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def partitions(self, topic: Topic, key: str | None = None) -> list[TopicPartition]:
        """All of a topic's partitions, or the one that the producers' default partitioner gives a key."""
        width = width_of(topic, self._config)
        numbers = range(width) if key is None else [int(murmur2(key.encode()) & 0x7FFFFFFF) % width]
        return [TopicPartition(topic.name, number) for number in numbers]

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer that is to be assigned partitions by hand. Raises KafkaError or TimeoutError without brokers."""
        consumer = AIOKafkaConsumer(
            **client_settings(self._config, "admin-api"),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        try:
            async with asyncio.timeout(_CONNECT):
                await consumer.start()
            yield consumer
        finally:
            await stop_consumer(consumer)

    async def newest(
        self,
        partitions: Sequence[TopicPartition],
        wanted: Wanted[Item],
        limit: int,
        *,
        cursor: str | None = None,
        since: datetime | None = None,
        most: int = MOST_SCANNED,
    ) -> Page[Item]:
        """A page of what is wanted, newest first, by when it was written.

        Args:
            partitions: Of one topic.
            wanted: What to give of a record, if anything.
            limit: Items of the page.
            cursor: `next` of the page before. What was written since the first page does not move the others.
            since: Nothing that was written before.
            most: Records to look at. After them the page ends, though it may be empty.

        Raises:
            Problem: The cursor is not one of these.
            KafkaError, TimeoutError: The brokers don't answer.
        """
        if not partitions:
            return Page([], None)
        async with self._turns, asyncio.timeout(_PAGE), self.consumer() as consumer:
            spans = await spans_of(consumer, partitions, since=since)
            at = _decoded(cursor, partitions) if cursor else {}
            reading: dict[TopicPartition, _Backwards[Item]] = {
                # What the cursor leaves out had come to its end, or was empty.
                tp: _Backwards(begin, min(at.get(tp.partition, 0 if cursor else end), end))
                for tp, (begin, end) in spans.items()
            }
            items: list[Item] = []
            scanned = 0
            while len(items) < limit:
                hungry = {tp: one for tp, one in reading.items() if one.hungry}
                if hungry:
                    if scanned >= most:
                        break
                    scanned += await _feed(consumer, hungry, wanted)
                    continue
                fed = [one for one in reading.values() if one.found]
                if not fed:
                    break
                items.append(max(fed, key=lambda one: one.found[-1][:2]).found.pop()[2])
            left = [(tp.partition, one.at) for tp, one in reading.items() if one.at > one.begin]
            return Page(items, _encoded(left) if left else None)


async def spans_of(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[TopicPartition, Span]:
    """What the partitions hold that was written from `since` on and before `until`. Raises KafkaError."""
    consumer.assign(partitions)
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    if since is not None:
        begins = await _from(consumer, partitions, since, ends)
    if until is not None:
        ends = await _from(consumer, partitions, until, ends)
    return {tp: (begins[tp], max(begins[tp], ends[tp])) for tp in partitions}


async def forward(
    consumer: AIOKafkaConsumer, spans: Mapping[TopicPartition, Span]
) -> AsyncGenerator[tuple[TopicPartition, list[ConsumerRecord], int], None]:
    """Everything within the spans: a partition, some of its records in order, and the offset come to after them."""
    left = {tp: end for tp, (begin, end) in spans.items() if begin < end}
    if not left:
        return
    consumer.assign(list(left))
    for tp in left:
        consumer.seek(tp, spans[tp][0])
    while left:
        batches = await consumer.getmany(timeout_ms=100, max_records=500)
        for tp, end in list(left.items()):
            # Markers of transactions take offsets too, so that the position may be further than the last record.
            position = min(await consumer.position(tp), end)
            yield tp, [record for record in batches.get(tp, ()) if record.offset < end], position
            if position >= end:
                del left[tp]
                consumer.pause(tp)


async def _from(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], at: datetime, ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    # Before the epoch nothing was written, and Kafka's protocol gives -1 and -2 other meanings.
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, max(millis(at), 0)))
    return {tp: ends[tp] if found.get(tp) is None else min(found[tp].offset, ends[tp]) for tp in partitions}


async def _feed(
    consumer: AIOKafkaConsumer, hungry: Mapping[TopicPartition, _Backwards[Item]], wanted: Wanted[Item]
) -> int:
    """Read a chunk of each partition; say how many records were looked at."""
    consumer.assign(list(hungry))
    starts = {tp: max(one.begin, one.below - one.chunk) for tp, one in hungry.items()}
    for tp, start in starts.items():
        consumer.seek(tp, start)
    left, scanned = set(hungry), 0
    while left:
        for tp, records in (await consumer.getmany(timeout_ms=100)).items():
            one = hungry[tp]
            for record in records:
                if record.offset >= one.below:
                    break
                scanned += 1
                if (item := wanted(record)) is not None:
                    one.found.append((record.timestamp, record.offset, item))
        for tp in list(left):
            if await consumer.position(tp) >= hungry[tp].below:
                left.discard(tp)
                consumer.pause(tp)
    for tp, one in hungry.items():
        one.below = starts[tp]
        one.chunk = min(one.chunk * 4, _LONGEST_CHUNK)
    return scanned


def _encoded(at: Sequence[tuple[int, int]]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(at)).decode().rstrip("=")


def _decoded(cursor: str, partitions: Sequence[TopicPartition]) -> dict[int, int]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        at = dict(msgspec.json.decode(raw, type=list[tuple[int, int]]))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise Problem(422, "is none that was given as next", "cursor") from None
    if not at or not set(at) <= {tp.partition for tp in partitions} or min(at.values()) < 0:
        raise Problem(422, "was given for another request", "cursor")
    return at
