"""The topics are what the gateway needs, or it says which one is not."""

import asyncio

import msgspec
import pytest
import structlog
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from gateway.config import KafkaConfig
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from gateway.runtime.kafka import TopicError, ensure_topics
from tests.support.kafka import admin_client, create_topic


def _config(broker: Broker, prefix: str) -> KafkaConfig:
    return KafkaConfig(
        bootstrap=broker.bootstrap, prefix=prefix.rstrip("."), shards=5, partitions=2, replication_factor=1
    )


async def test_all_topics_are_created_with_their_partitions_and_settings(broker: Broker, prefix: str) -> None:
    config = _config(broker, prefix)
    # Services that start together create them together; and each start checks them again.
    await asyncio.gather(*(ensure_topics(config) for _ in range(3)))
    await ensure_topics(config)
    topics = {topic.name: topic for topic in Topics(config.prefix).all()}
    async with admin_client(broker.bootstrap) as admin:
        described = await admin.describe_topics(list(topics))
        widths = {one["topic"]: len(one["partitions"]) for one in described}
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in topics])
    assert widths == {name: 5 if topic.width == "shards" else 2 for name, topic in topics.items()}
    for answer in answers:
        for _code, _message, _kind, name, entries in answer.resources:
            found = {entry[0]: entry[1] for entry in entries}
            assert {setting: found[setting] for setting in topics[name].settings()} == topics[name].settings()


async def test_another_number_of_partitions_is_an_error_that_names_the_topic(broker: Broker, prefix: str) -> None:
    config = _config(broker, prefix)
    await ensure_topics(config)
    with pytest.raises(TopicError, match=r"poller-state\.v1: has 5 partitions, kafka\.shards says 6"):
        await ensure_topics(msgspec.structs.replace(config, shards=6))
    with pytest.raises(TopicError, match=r"calls\.v1: has 2 partitions, kafka\.partitions says 3"):
        await ensure_topics(msgspec.structs.replace(config, partitions=3))


async def test_another_cleanup_policy_is_an_error_that_names_the_topic(broker: Broker, prefix: str) -> None:
    config = _config(broker, prefix)
    state = Topics(config.prefix).poller_state
    await create_topic(broker.bootstrap, state.name, 5, {"cleanup.policy": "delete"})
    with pytest.raises(TopicError, match=rf"{state.name}: cleanup\.policy is 'delete', must be 'compact'"):
        await ensure_topics(config)


async def test_another_retention_is_the_operators_right(broker: Broker, prefix: str) -> None:
    config = _config(broker, prefix)
    calls = Topics(config.prefix).calls
    await create_topic(broker.bootstrap, calls.name, 2, {"cleanup.policy": "delete", "retention.ms": "60000"})
    with structlog.testing.capture_logs() as logs:
        await ensure_topics(config)
    assert [(one["topic"], one["setting"], one["found"]) for one in logs] == [(calls.name, "retention.ms", "60000")]
