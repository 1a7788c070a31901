"""Sends commands and follows what becomes of them, as any Kafka client could."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from gateway.config import KafkaConfig
from gateway.contract.commands import Command, CommandResult, is_last
from gateway.contract.topics import Topics
from gateway.runtime.kafka import client_settings
from gateway.runtime.shards import key_of, shard_of


async def send_and_follow(config: KafkaConfig, command: Command, timeout: float) -> AsyncIterator[CommandResult]:
    """Send `command` and yield its results as they are committed, to the last.

    Raises TimeoutError when the last has not come within `timeout` seconds; the command is on its way all the same.
    """
    topics = Topics(config.prefix)
    partition = TopicPartition(topics.command_results.name, shard_of(command.account, config.shards))
    consumer = AIOKafkaConsumer(
        **client_settings(config, "commands"), isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        await consumer.start()
        consumer.assign([partition])
        # Where the results begin must be known before the command is sent.
        await consumer.seek_to_end(partition)
        await consumer.position(partition)
        await _send(config, topics, command)
        async with asyncio.timeout(timeout):
            async for record in consumer:
                result = msgspec.json.decode(record.value, type=CommandResult)
                if (result.account, result.command_id) != (command.account, command.id):
                    continue
                yield result
                if is_last(result):
                    return
    finally:
        await consumer.stop()


async def _send(config: KafkaConfig, topics: Topics, command: Command) -> None:
    producer = AIOKafkaProducer(**client_settings(config, "commands"), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(
            topics.commands.name, key=key_of(command.account), value=msgspec.json.encode(command)
        )
    finally:
        await producer.stop()
