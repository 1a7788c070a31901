"""Kafka as every service uses it: client settings, and topics created and checked at start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from gateway.config import KafkaConfig
from gateway.contract.topics import Topic, Topics
from gateway.runtime.connections import mend_connections
from gateway.runtime.fetching import mend_fetching
from gateway.runtime.refusals import mend_refusals
from gateway.runtime.security import security_settings
from gateway.runtime.wire import mend_wire

_log = structlog.get_logger(__name__)

# Whoever uses Kafka comes by here.
mend_connections()
mend_fetching()
mend_refusals()
mend_wire()

# What a topic's settings are compared on: the rest may be tuned by whoever runs the brokers.
_CHECKED = ("cleanup.policy", "retention.ms")
# A former owner that died with a transaction open holds up readers for this long at most; a new owner ends it at once.
_TRANSACTION_TIMEOUT_MS = 15_000
_CREATED_SECONDS = 15.0
# A broker that has just started may not know a topic yet. A member that leads its group in that moment gives nobody any
# partition of it, and finds out when it asks again, by default after 5 minutes.
METADATA_AGE_MS = 10_000
# A producer leads no group, and looks for leaders as soon as one is not where it was. To keep 64 producers told of 64
# partitions was a fortieth of what the gateway did, brokers' work apart.
_PRODUCER_METADATA_AGE_MS = 300_000
# How long a client that is done with may wait for brokers that don't answer.
_STOP_SECONDS = 3.0


class TopicError(Exception):
    """A topic is not what the gateway needs; the message names the topic and the setting."""


def client_settings(config: KafkaConfig, name: str) -> dict[str, Any]:
    """What every aiokafka client of the gateway is made with; `name` shows up in the brokers' logs.

    Raises ConfigError for a secret or a file that can't be read.
    """
    return {
        "bootstrap_servers": config.bootstrap,
        "client_id": f"{config.prefix}-{name}",
        "metadata_max_age_ms": METADATA_AGE_MS,
        **security_settings(config),
    }


def width_of(topic: Topic, config: KafkaConfig) -> int:
    """How many partitions a topic has."""
    return config.shards if topic.width == "shards" else config.partitions


@asynccontextmanager
async def transactional_producer(
    config: KafkaConfig, name: str, transactional_id: str
) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer whose start fenced off all others of its transactional id; stopped at the end, within seconds.

    Raises KafkaError where it can't start.
    """
    settings = client_settings(config, name) | {"metadata_max_age_ms": _PRODUCER_METADATA_AGE_MS}
    producer = AIOKafkaProducer(
        **settings,
        transactional_id=transactional_id,
        transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
        acks="all",
        linger_ms=0,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await _to_its_end(_stop(producer))


async def _stop(producer: AIOKafkaProducer) -> None:
    sender = producer._sender  # noqa: SLF001 - what follows mends what aiokafka leaves behind, and there is no other way
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (KafkaError, TimeoutError):
        # Fenced off as it stopped, or without brokers to stop for: its connections are still open.
        await producer.client.close()
        # Cancelled once, it waits for its requests, which wait for brokers; each time more ends one of them.
        while sender.sender_task is not None and not sender.sender_task.done():
            sender.sender_task.cancel()
            await asyncio.wait([sender.sender_task], timeout=0.1)
    # A fenced producer's error stands in futures that nobody asks besides the one that raised it.
    waiters = [producer._txn_manager.wait_for_transaction_end()]  # noqa: SLF001
    batches = producer._message_accumulator._batches.values()  # noqa: SLF001
    waiters += [batch._drain_waiter for queue in batches for batch in queue]  # noqa: SLF001
    for waiter in waiters:
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer and leave its group, or end within seconds where the brokers don't answer."""
    await _to_its_end(_stop_consumer(consumer))


async def _to_its_end(stopping: Coroutine[Any, Any, None]) -> None:
    """Await what ends within seconds; whoever is cancelled meanwhile waits for it, and then is.

    A client of aiokafka that stops cancels its tasks and awaits them, and takes a cancellation of its caller for theirs:
    the caller, a shard that is told to end, would never hear of it and go on.
    """
    task = asyncio.create_task(stopping)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _stop_consumer(consumer: AIOKafkaConsumer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await consumer.stop()
    except TimeoutError:
        # Its group misses it after the session timeout. aiokafka itself would go on asking for the coordinator.
        _log.warning("a consumer did not leave in time", client=consumer._client._client_id)  # noqa: SLF001
        await consumer._client.close()  # noqa: SLF001 - stop() does nothing when called again


async def ensure_topics(config: KafkaConfig) -> None:
    """Create the topics that are missing and check those that are there.

    Raises TopicError where a topic has another number of partitions (accounts and calls would change places) or another
    cleanup policy; KafkaError where the brokers refuse. Another retention is logged: that is the operator's right.
    """
    topics = Topics(config.prefix).all()
    admin = AIOKafkaAdminClient(**client_settings(config, "admin"))
    try:
        await admin.start()
        # Asking for a topic by name would create it, with one partition, where the brokers create topics by themselves.
        names = set(await admin.list_topics())
        await _create(admin, config, [topic for topic in topics if topic.name not in names])
        # Those just created too: another service may have created them in between, by another configuration.
        there = await _widths(admin, [topic.name for topic in topics])
        for topic in topics:
            if there[topic.name] != width_of(topic, config):
                raise TopicError(
                    f"{topic.name}: has {there[topic.name]} partitions, kafka.{topic.width} says {width_of(topic, config)}"
                )
        await _check_settings(admin, topics)
    finally:
        await admin.close()


async def delete_topics(config: KafkaConfig) -> None:
    """Delete every topic of the gateway, as far as it is there. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**client_settings(config, "admin"))
    await admin.start()
    try:
        there = set(await admin.list_topics())
        await admin.delete_topics([topic.name for topic in Topics(config.prefix).all() if topic.name in there])
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, config: KafkaConfig, topics: list[Topic]) -> None:
    if not topics:
        return
    answer = await admin.create_topics(
        [
            NewTopic(topic.name, width_of(topic, config), config.replication_factor, topic_configs=topic.settings())
            for topic in topics
        ]
    )
    for name, code, *reason in answer.topic_errors:
        # Another service may have created it at the same moment.
        if code and code != TopicAlreadyExistsError.errno:
            error: type[KafkaError] = for_code(code)
            raise TopicError(f"{name}: could not be created: {error.__name__}: {reason[0] if reason else ''}")


async def _widths(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """How many partitions each topic has; brokers may learn a moment late of a topic that was created."""
    deadline = asyncio.get_running_loop().time() + _CREATED_SECONDS
    while True:
        described = await admin.describe_topics(names)
        unknown = [one["topic"] for one in described if one["error_code"]]
        if not unknown:
            return {one["topic"]: len(one["partitions"]) for one in described}
        if asyncio.get_running_loop().time() > deadline:
            raise TopicError(f"{unknown[0]}: was created, but the brokers don't know it yet")
        await asyncio.sleep(0.1)


async def _check_settings(admin: AIOKafkaAdminClient, topics: list[Topic]) -> None:
    wanted = {topic.name: topic.settings() for topic in topics}
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=dict.fromkeys(_CHECKED, "")) for topic in topics]
    )
    for answer in answers:
        for _code, _message, _kind, name, entries in answer.resources:
            found = {entry[0]: entry[1] for entry in entries}
            for setting in _CHECKED:
                want = wanted[name].get(setting)
                if want is None or setting not in found or found[setting] == want:
                    continue
                if setting == "cleanup.policy":
                    raise TopicError(f"{name}: cleanup.policy is {found[setting]!r}, must be {want!r}")
                _log.warning("topic setting differs", topic=name, setting=setting, found=found[setting], wanted=want)
