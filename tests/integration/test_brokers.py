"""What the gateway relies on in a broker, each fact proved on the embedded one and on a real Apache Kafka."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidConfigurationError, ProducerFenced, TopicAlreadyExistsError

from gateway.dev.brokers import Broker
from tests.support.kafka import (
    admin_client,
    committed_offset,
    create_topic,
    read_all,
    read_values,
    transactional,
)
from tests.support.waiting import eventually

# Transactions


async def test_a_transactions_records_are_seen_only_after_its_commit(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}id") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"one")
        await producer.send_and_wait(topic, b"two")
        assert await read_values(broker.bootstrap, topic) == []
        assert await read_values(broker.bootstrap, topic, "read_uncommitted") == [b"one", b"two"]
        await producer.commit_transaction()
    assert await read_values(broker.bootstrap, topic) == [b"one", b"two"]


async def test_a_transaction_spans_topics_and_partitions(broker: Broker, prefix: str) -> None:
    events, state = f"{prefix}events", f"{prefix}state"
    await create_topic(broker.bootstrap, events, partitions=3)
    await create_topic(broker.bootstrap, state, partitions=2)
    async with transactional(broker.bootstrap, f"{prefix}id") as producer:
        await producer.begin_transaction()
        sent = [await producer.send(events, b"e%d" % n, partition=n) for n in range(3)]
        sent += [await producer.send(state, b"s%d" % n, key=b"k", partition=n) for n in range(2)]
        await asyncio.gather(*sent)
        assert await read_values(broker.bootstrap, events) == await read_values(broker.bootstrap, state) == []
        await producer.commit_transaction()
    assert await read_values(broker.bootstrap, events) == [b"e0", b"e1", b"e2"]
    assert await read_values(broker.bootstrap, state) == [b"s0", b"s1"]


async def test_aborted_records_are_never_seen(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}id") as producer:
        for value, good in [(b"one", True), (b"aborted", False), (b"two", True), (b"last aborted", False)]:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value)
            await (producer.commit_transaction() if good else producer.abort_transaction())
    assert await read_values(broker.bootstrap, topic) == [b"one", b"two"]
    assert await read_values(broker.bootstrap, topic, "read_uncommitted") == [
        b"one",
        b"aborted",
        b"two",
        b"last aborted",
    ]


async def test_an_open_transaction_hides_later_records_of_others_until_it_ends(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with (
        transactional(broker.bootstrap, f"{prefix}slow") as slow,
        transactional(broker.bootstrap, f"{prefix}quick") as quick,
    ):
        await slow.begin_transaction()
        await slow.send_and_wait(topic, b"slow")
        async with quick.transaction():
            await quick.send_and_wait(topic, b"quick")
        assert await read_values(broker.bootstrap, topic) == []
        await slow.abort_transaction()
    assert await read_values(broker.bootstrap, topic) == [b"quick"]


async def test_a_transaction_left_open_is_aborted_when_its_id_is_used_again(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}shard") as dead:
        await dead.begin_transaction()
        await dead.send_and_wait(topic, b"left open")
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as plain:
        await plain.send_and_wait(topic, b"after")
    assert await read_values(broker.bootstrap, topic) == []
    async with transactional(broker.bootstrap, f"{prefix}shard"):
        assert await read_values(broker.bootstrap, topic) == [b"after"]


@pytest.mark.kafka
async def test_a_transaction_left_open_is_aborted_by_its_timeout(apache_kafka: Broker, prefix: str) -> None:
    # Not so on the embedded broker: there it stays open until its id is used again.
    topic = f"{prefix}t"
    await create_topic(apache_kafka.bootstrap, topic)
    async with transactional(apache_kafka.bootstrap, f"{prefix}dead", timeout_ms=1000) as dead:
        await dead.begin_transaction()
        await dead.send_and_wait(topic, b"left open")
    async with AIOKafkaProducer(bootstrap_servers=apache_kafka.bootstrap, acks="all") as plain:
        await plain.send_and_wait(topic, b"after")

    async def after_is_seen() -> bool:
        """what follows the abandoned transaction is seen"""
        return await read_values(apache_kafka.bootstrap, topic) == [b"after"]

    await eventually(after_is_seen, interval=0.2)


async def test_many_small_transactions_keep_every_record_once_and_in_order(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}id") as producer:
        for number in range(100):
            async with producer.transaction():
                await producer.send(topic, b"%d" % number)
    assert await read_values(broker.bootstrap, topic) == [b"%d" % number for number in range(100)]


# Offsets in transactions


async def test_offsets_sent_in_a_transaction_are_committed_with_it(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}t", f"{prefix}group"
    await create_topic(broker.bootstrap, topic)
    partition = TopicPartition(topic, 0)
    async with transactional(broker.bootstrap, f"{prefix}id") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"result")
        await producer.send_offsets_to_transaction({partition: 7}, group)
        assert await committed_offset(broker.bootstrap, group, partition) is None
        await producer.commit_transaction()
    assert await committed_offset(broker.bootstrap, group, partition) == 7


async def test_offsets_sent_in_an_aborted_transaction_are_not_committed(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}t", f"{prefix}group"
    await create_topic(broker.bootstrap, topic)
    partition = TopicPartition(topic, 0)
    async with transactional(broker.bootstrap, f"{prefix}id") as producer:
        async with producer.transaction():
            await producer.send_offsets_to_transaction({partition: 3}, group)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"result")
        await producer.send_offsets_to_transaction({partition: 7}, group)
        await producer.abort_transaction()
    assert await committed_offset(broker.bootstrap, group, partition) == 3


# Fencing: a second producer with the same transactional id


async def test_a_newer_producer_fences_the_older_ones_send(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}shard") as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"old, never committed")
        async with transactional(broker.bootstrap, f"{prefix}shard") as new:
            async with new.transaction():
                await new.send_and_wait(topic, b"new")
            with pytest.raises(ProducerFenced):
                await old.send_and_wait(topic, b"old, too late")
    assert await read_values(broker.bootstrap, topic) == [b"new"]


async def test_a_newer_producer_fences_the_older_ones_commit(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}shard") as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"old, never committed")
        async with transactional(broker.bootstrap, f"{prefix}shard"):
            with pytest.raises(ProducerFenced):
                await old.commit_transaction()
    assert await read_values(broker.bootstrap, topic) == []


async def test_a_newer_producer_fences_an_older_one_that_was_between_transactions(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}shard") as old:
        async with old.transaction():
            await old.send_and_wait(topic, b"before")
        async with transactional(broker.bootstrap, f"{prefix}shard") as new:
            with pytest.raises(ProducerFenced):
                async with old.transaction():
                    await old.send_and_wait(topic, b"too late")
            async with new.transaction():
                await new.send_and_wait(topic, b"new")
    assert await read_values(broker.bootstrap, topic) == [b"before", b"new"]


async def test_a_newer_producer_fences_the_older_ones_offsets(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}t", f"{prefix}group"
    await create_topic(broker.bootstrap, topic)
    partition = TopicPartition(topic, 0)
    async with transactional(broker.bootstrap, f"{prefix}shard") as old:
        await old.begin_transaction()
        async with transactional(broker.bootstrap, f"{prefix}shard"):
            with pytest.raises(ProducerFenced):
                await old.send_offsets_to_transaction({partition: 7}, group)
    assert await committed_offset(broker.bootstrap, group, partition) is None


async def test_a_fenced_producer_is_of_no_more_use(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with (
        transactional(broker.bootstrap, f"{prefix}shard") as old,
        transactional(broker.bootstrap, f"{prefix}shard") as new,
    ):
        with pytest.raises(ProducerFenced):
            async with old.transaction():
                await old.send_and_wait(topic, b"too late")
        # aiokafka's own state machine refuses; whoever catches ProducerFenced stops the producer and makes a new one.
        with pytest.raises(AssertionError, match="Invalid state transition"):
            await old.begin_transaction()
        async with new.transaction():
            await new.send_and_wait(topic, b"new")
    assert await read_values(broker.bootstrap, topic) == [b"new"]


async def test_other_transactional_ids_are_not_fenced(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with (
        transactional(broker.bootstrap, f"{prefix}shard-1") as one,
        transactional(broker.bootstrap, f"{prefix}shard-2") as two,
    ):
        for producer in (one, two, one):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"kept")
    assert await read_values(broker.bootstrap, topic) == [b"kept"] * 3


# Groups, idempotence, topics


async def test_a_group_shares_partitions_again_when_a_member_joins_or_leaves(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}t", f"{prefix}group"
    await create_topic(broker.bootstrap, topic, partitions=4)
    every = {TopicPartition(topic, number) for number in range(4)}

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.bootstrap,
            group_id=group,
            heartbeat_interval_ms=200,
            enable_auto_commit=False,
        )

    async with member() as first:
        await eventually(lambda: first.assignment() == every, what="the only member owns all")
        async with member() as second:
            await eventually(
                lambda: (
                    len(first.assignment()) == len(second.assignment()) == 2
                    and first.assignment() | second.assignment() == every
                ),
                what="two members own two partitions each",
            )
        await eventually(lambda: first.assignment() == every, what="the one that stays owns all again")


async def test_an_idempotent_producer_keeps_the_order_of_a_partition(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, enable_idempotence=True, acks="all", max_batch_size=256
    )
    async with producer:
        sent = [await producer.send(topic, b"%d" % number) for number in range(500)]
        offsets = [found.offset for found in await asyncio.gather(*sent)]
    assert offsets == list(range(500))
    assert await read_values(broker.bootstrap, topic) == [b"%d" % number for number in range(500)]


async def test_headers_and_keys_come_back_as_sent(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    headers = [("ce_id", b"a-1"), ("ce_type", b"call.started"), ("ce_id", b"again")]
    async with transactional(broker.bootstrap, f"{prefix}id") as producer, producer.transaction():
        await producer.send_and_wait(topic, b"{}", key=b"call", timestamp_ms=1_700_000_000_123, headers=headers)
        await producer.send_and_wait(topic, None, key=b"call")
    full, tombstone = await read_all(broker.bootstrap, topic)
    assert (full.key, full.value, list(full.headers), full.timestamp) == (b"call", b"{}", headers, 1_700_000_000_123)
    assert (tombstone.key, tombstone.value) == (b"call", None)


async def test_a_compacted_topic_is_made_with_the_settings_asked_for(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    asked = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": "3600000",
        "delete.retention.ms": "86400000",
    }
    await create_topic(broker.bootstrap, topic, partitions=8, configs=asked)
    async with admin_client(broker.bootstrap) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((_, _, _, _, entries),) = answer.resources
    found = {entry[0]: entry[1] for entry in entries}
    assert {name: found.get(name) for name in asked} == asked


async def test_a_topic_is_made_with_a_retention(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic, configs={"retention.ms": "604800000", "cleanup.policy": "delete"})
    async with admin_client(broker.bootstrap) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((_, _, _, _, entries),) = answer.resources
    assert {entry[0]: entry[1] for entry in entries}["retention.ms"] == "604800000"


async def test_a_topic_is_not_made_twice(broker: Broker, prefix: str) -> None:
    await create_topic(broker.bootstrap, f"{prefix}t")
    with pytest.raises(TopicAlreadyExistsError):
        await create_topic(broker.bootstrap, f"{prefix}t")


async def test_an_unknown_setting_of_a_topic_is_refused(broker: Broker, prefix: str) -> None:
    with pytest.raises(InvalidConfigurationError):
        await create_topic(broker.bootstrap, f"{prefix}t", configs={"no.such.setting": "1"})
