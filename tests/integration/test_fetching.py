"""A consumer with nothing to read lets the broker rest, also one that answers "nothing yet" at once."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher

from gateway.dev.brokers import Broker
from gateway.runtime.fetching import mend_fetching
from tests.support.kafka import create_topic


async def test_an_idle_consumer_does_not_ask_without_a_pause(broker: Broker, prefix: str) -> None:
    mend_fetching()
    topic = f"{prefix}idle"
    await create_topic(broker.bootstrap, topic)
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, fetch_max_wait_ms=500) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        fetcher: Fetcher = consumer._fetcher
        asked = 0
        actions = fetcher._get_actions_per_node

        def counted(assignment: object) -> object:
            nonlocal asked
            asked += 1
            return actions(assignment)

        fetcher._get_actions_per_node = counted
        assert await consumer.getmany(timeout_ms=1_000) == {}
    # Without the pause it is thousands; a broker that waits is asked two or three times.
    assert 0 < asked < 300
