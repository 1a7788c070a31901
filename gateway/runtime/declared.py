"""What is declared at run time: a compacted topic that every process follows, and the writing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from gateway.config import ConfigError, KafkaConfig
from gateway.contract.topics import Topic
from gateway.runtime.committer import Record
from gateway.runtime.kafka import client_settings, stop_consumer, width_of

_log = structlog.get_logger(__name__)

# Where a record stands, for errors; its key; and its value, None where what it declared was withdrawn.
Tell = Callable[[str, bytes, bytes | None], None]


async def follow(config: KafkaConfig, topic: Topic, client: str, tell: Tell, loaded: Callable[[], None]) -> None:
    """Tell `tell` of every record on the topic, and of each that comes from then on, until cancelled.

    `client` is the name that shows up in the brokers' logs. `loaded` is called once everything is told of that was
    there at the start. A record that `tell` refuses by a ConfigError is logged, and passed over. Raises KafkaError.
    """
    partitions = [TopicPartition(topic.name, number) for number in range(width_of(topic, config))]
    consumer = AIOKafkaConsumer(
        **client_settings(config, client),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=500,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        behind = {partition for partition, end in ends.items() if end > 0}
        if not behind:
            loaded()
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    _tell(record, tell)
            if behind:
                behind = {one for one in behind if await consumer.position(one) < ends[one]}
                if not behind:
                    loaded()
    finally:
        await stop_consumer(consumer)


async def read(config: KafkaConfig, topic: Topic, client: str, tell: Tell) -> None:
    """As `follow`, but return once everything is told of that was there at the start."""

    class _Loaded(Exception):
        pass

    def loaded() -> None:
        raise _Loaded

    with suppress(_Loaded):
        await follow(config, topic, client, tell, loaded)


async def declare(config: KafkaConfig, topic: Topic, client: str, key: bytes, value: bytes | None) -> None:
    """Write a record, or withdraw what `key` declares with None. Returns once the brokers have it. Raises KafkaError."""
    await write(config, client, [Record(topic.name, key, value)])


async def write(config: KafkaConfig, client: str, records: Sequence[Record]) -> None:
    """Write records, each once the one before is written. Returns once the brokers have all. Raises KafkaError."""
    producer = AIOKafkaProducer(**client_settings(config, client), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        for one in records:
            await producer.send_and_wait(one.topic, value=one.value, key=one.key, headers=list(one.headers))
    finally:
        await producer.stop()


def _tell(record: ConsumerRecord, tell: Tell) -> None:
    try:
        tell(f"{record.topic}[{record.partition}]@{record.offset}", record.key or b"", record.value)
    except ConfigError as error:
        _log.error("a record of what is declared is wrong and was passed over", error=str(error))
