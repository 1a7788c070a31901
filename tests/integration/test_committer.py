"""Group commit and fencing, on real brokers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import REGISTRY

from gateway.config import KafkaConfig
from gateway.dev.brokers import Broker
from gateway.runtime.committer import Committer, NotCommitted, Record
from gateway.runtime.kafka import transactional_producer
from tests.support.kafka import committed_offset, create_topic, read_values
from tests.support.waiting import eventually


def _config(broker: Broker, prefix: str) -> KafkaConfig:
    return KafkaConfig(bootstrap=broker.bootstrap, prefix=prefix.rstrip("."))


@asynccontextmanager
async def _committer(broker: Broker, prefix: str) -> AsyncIterator[tuple[Committer, "asyncio.Task[None]"]]:
    """A shard's committer at work, and its task."""
    async with transactional_producer(_config(broker, prefix), "shard-0", f"{prefix}shard-0") as producer:
        committer = Committer(producer, f"{prefix}group")
        task = asyncio.create_task(committer.run())
        try:
            yield committer, task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, NotCommitted):
                await task


def _transactions() -> float:
    return REGISTRY.get_sample_value("ringcloud_transaction_seconds_count") or 0.0


async def test_what_arrives_during_a_commit_goes_into_the_next_in_order(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with _committer(broker, prefix) as (committer, _):
        before = _transactions()
        async with asyncio.TaskGroup() as tasks:
            for number in range(500):
                tasks.create_task(committer.commit([Record(topic, b"k", b"%d" % number)]))
                if number % 100 == 0:
                    # Let the first of these begin.
                    await asyncio.sleep(0)
        assert 1 <= _transactions() - before <= 6
    assert await read_values(broker.bootstrap, topic) == [b"%d" % number for number in range(500)]


async def test_offsets_are_committed_with_the_records(broker: Broker, prefix: str) -> None:
    topic, commands = f"{prefix}t", f"{prefix}commands"
    await create_topic(broker.bootstrap, topic)
    await create_topic(broker.bootstrap, commands)
    partition = TopicPartition(commands, 0)
    async with _committer(broker, prefix) as (committer, _):
        await asyncio.gather(
            committer.commit([Record(topic, b"k", b"one")], {partition: 3}),
            committer.commit([Record(topic, b"k", b"two")], {partition: 7}),
        )
        assert await read_values(broker.bootstrap, topic) == [b"one", b"two"]
        assert await committed_offset(broker.bootstrap, f"{prefix}group", partition) == 7


async def test_a_new_owner_fences_the_former(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with _committer(broker, prefix) as (former, running):
        await former.commit([Record(topic, b"k", b"owner")])
        async with _committer(broker, prefix) as (new, _):
            await new.commit([Record(topic, b"k", b"new owner")])
            with pytest.raises(NotCommitted):
                await former.commit([Record(topic, b"k", b"zombie")])
            with pytest.raises(NotCommitted):
                await running
            # It is over for good.
            with pytest.raises(NotCommitted):
                await former.commit([Record(topic, b"k", b"zombie again")])
            await new.commit([Record(topic, b"k", b"still the owner")])
    assert await read_values(broker.bootstrap, topic) == [b"owner", b"new owner", b"still the owner"]


async def test_a_former_owner_in_mid_transaction_is_fenced_and_its_records_never_seen(
    broker: Broker, prefix: str
) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional_producer(_config(broker, prefix), "shard-0", f"{prefix}shard-0") as former:
        await former.begin_transaction()
        await former.send_and_wait(topic, b"half done")
        async with _committer(broker, prefix) as (new, _):
            await new.commit([Record(topic, b"k", b"new owner")])
    assert await read_values(broker.bootstrap, topic) == [b"new owner"]


@pytest.mark.kafka
async def test_nothing_is_committed_where_one_record_is_refused(apache_kafka: Broker, prefix: str) -> None:
    # The embedded broker takes records of any size.
    topic, narrow = f"{prefix}t", f"{prefix}narrow"
    await create_topic(apache_kafka.bootstrap, topic)
    await create_topic(apache_kafka.bootstrap, narrow, configs={"max.message.bytes": "1000"})
    async with _committer(apache_kafka, prefix) as (committer, running):
        with pytest.raises(NotCommitted, match="MessageSizeTooLarge"):
            await committer.commit([Record(topic, b"k", b"event"), Record(narrow, b"k", b"s" * 2000)])
        with pytest.raises(NotCommitted):
            await running
    async with AIOKafkaProducer(bootstrap_servers=apache_kafka.bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, b"after")
    assert await read_values(apache_kafka.bootstrap, topic) == [b"after"]


async def test_a_commit_waits_for_nobody_who_is_gone(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with _committer(broker, prefix) as (committer, running):
        gone = asyncio.create_task(committer.commit([Record(topic, b"k", b"of one who went away")]))
        await asyncio.sleep(0)
        gone.cancel()
        await committer.commit([Record(topic, b"k", b"next")])
        running.cancel()
        await eventually(running.done)
        with pytest.raises(NotCommitted):
            await committer.commit([Record(topic, b"k", b"too late")])
    assert await read_values(broker.bootstrap, topic) == [b"of one who went away", b"next"]
