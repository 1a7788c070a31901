"""Topics made, written in transactions and read in tests."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from tests.support.waiting import eventually

Isolation = Literal["read_committed", "read_uncommitted"]


@asynccontextmanager
async def admin_client(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client, closed at the end."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def create_topic(
    bootstrap: str, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None
) -> None:
    """Create a topic, and return when each of its partitions has a leader.

    Raises:
        KafkaError: The broker refused (TopicAlreadyExistsError, InvalidConfigurationError, …).
        AssertionError: The partitions had no leaders in time.
    """
    async with admin_client(bootstrap) as admin:
        answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs or {}))])
        for _, code, *reason in answer.topic_errors:
            if code:
                raise for_code(code)(f"{name}: {reason[0] if reason else code}")

        async def led() -> bool:
            """every partition of the new topic has a leader"""
            (topic,) = await admin.describe_topics([name])
            found = topic["partitions"]
            return len(found) == partitions and all(p["leader"] >= 0 and not p["error_code"] for p in found)

        await eventually(led)


async def read_all(
    bootstrap: str, topic: str, isolation: Isolation = "read_committed", timeout: float = 20.0
) -> list[ConsumerRecord]:
    """All records of a topic up to its end at the time of the call, partition by partition, in order of offset.

    Reading committed records, the end is the last stable offset: an open transaction hides what comes after its start.

    Raises:
        TimeoutError: The end was not reached within `timeout` seconds.
        UnknownTopicOrPartitionError: There is no such topic.
    """
    async with admin_client(bootstrap) as admin:
        (description,) = await admin.describe_topics([topic])
    if description["error_code"]:
        raise for_code(description["error_code"])(topic)
    partitions = [TopicPartition(topic, number) for number in sorted(p["partition"] for p in description["partitions"])]
    records: dict[TopicPartition, list[ConsumerRecord]] = {partition: [] for partition in partitions}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level=isolation, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    async with asyncio.timeout(timeout), consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while [p for p in partitions if await consumer.position(p) < ends[p]]:
            for partition, found in (await consumer.getmany(timeout_ms=100)).items():
                records[partition] += [record for record in found if record.offset < ends[partition]]
    return [record for partition in records.values() for record in partition]


async def read_values(bootstrap: str, topic: str, isolation: Isolation = "read_committed") -> list[bytes | None]:
    """The values of `read_all`; raises what it raises."""
    return [record.value for record in await read_all(bootstrap, topic, isolation)]


async def committed_offset(bootstrap: str, group: str, partition: TopicPartition) -> int | None:
    """The offset that a consumer group has committed for a partition, None without one."""
    async with admin_client(bootstrap) as admin:
        found = await admin.list_consumer_group_offsets(group)
    offset: int = found[partition].offset if partition in found else -1
    return None if offset < 0 else offset


@asynccontextmanager
async def transactional(
    bootstrap: str, transactional_id: str, timeout_ms: int = 60_000
) -> AsyncIterator[AIOKafkaProducer]:
    """A started transactional producer, stopped at the end; it may be left fenced."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=transactional_id,
        transaction_timeout_ms=timeout_ms,
        acks="all",
    )
    async with producer:
        yield producer
    # aiokafka raises a fenced producer's error in the call under way and leaves it in two futures besides that nobody
    # asks; asyncio would print them.
    waiters = [producer._txn_manager.wait_for_transaction_end()]
    waiters += [batch._drain_waiter for batches in producer._message_accumulator._batches.values() for batch in batches]
    for waiter in waiters:
        if waiter is not None and waiter.done():
            waiter.exception()
