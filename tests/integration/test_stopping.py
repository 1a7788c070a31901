"""Whoever is told to end hears of it at any time: while clients stop, and while a shard falls."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gateway.calls.channels import Channels
from gateway.calls.differ import Diff
from gateway.config import KafkaConfig
from gateway.contract.events import CallEvent
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from gateway.polling.links import Links
from gateway.polling.poller import Poller
from gateway.polling.shard import CommandHandler, Shard
from gateway.polling.store import Memory
from gateway.runtime.committer import NotCommitted, Record
from gateway.runtime.kafka import stop_consumer, transactional_producer
from gateway.runtime.shards import Handles
from tests.support.kafka import create_topic
from tests.support.waiting import eventually

# How many turns of the loop a stop takes, and some more.
TURNS = range(1, 25)


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_a_cancellation_while_a_consumer_stops_is_not_lost(broker: Broker, prefix: str) -> None:
    await create_topic(broker.bootstrap, f"{prefix}t")
    for turns in TURNS:
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
        await consumer.start()
        consumer.assign([TopicPartition(f"{prefix}t", 0)])
        await consumer.end_offsets([TopicPartition(f"{prefix}t", 0)])
        assert await _heard(turns, lambda consumer=consumer: stop_consumer(consumer)), f"lost after {turns} turns"


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_a_cancellation_while_a_producer_stops_is_not_lost(broker: Broker, prefix: str) -> None:
    config = KafkaConfig(bootstrap=broker.bootstrap, prefix=prefix.rstrip("."))
    for turns in TURNS:
        producer = transactional_producer(config, "shard-0", f"{prefix}shard-0")
        await producer.__aenter__()
        assert await _heard(turns, lambda it=producer: it.__aexit__(None, None, None)), f"lost after {turns} turns"


class _Falling:
    """The work of a shard without accounts, that falls when it is told to."""

    def __init__(self) -> None:
        self.owned = asyncio.Event()
        self.fall = asyncio.Event()

    def accounts(self, shard: int) -> Mapping[int, object]:
        """None."""
        return {}

    @property
    def links(self) -> Links:
        """This."""
        return self

    def told(self, account: int, diff: Diff) -> tuple[Sequence[CallEvent], Sequence[Record]]:
        """Never asked."""
        raise AssertionError(account)

    def ringing(self, account: int, channels: Channels) -> Sequence[Record]:
        """Never asked."""
        raise AssertionError(account)

    def poller(self, account: int, shard: Handles, memory: Memory, links: Links) -> Poller:
        """Never asked for."""
        raise AssertionError(account)

    def commands(self, shard: Handles) -> CommandHandler:
        """This."""
        return self

    async def accept(self, records: Sequence[ConsumerRecord]) -> None:
        """Take no notice."""

    async def run(self) -> None:
        """Wait for the fall."""
        self.owned.set()
        await self.fall.wait()
        raise NotCommitted("fenced off")

    async def settle(self, seconds: float) -> None:
        """Nothing is on the wire."""


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_a_shard_that_falls_as_it_is_told_to_end_ends(broker: Broker, prefix: str) -> None:
    config = KafkaConfig(bootstrap=broker.bootstrap, prefix=prefix.rstrip("."), shards=1)
    await create_topic(broker.bootstrap, Topics(config.prefix).poller_state.name)
    for turns in TURNS:
        work = _Falling()
        task = asyncio.create_task(Shard(0, config, f"{prefix}group", work, lambda: None).run())
        await eventually(work.owned.is_set)
        work.fall.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        ended = task.done()
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert ended, f"lost after {turns} turns"


async def _heard(turns: int, stop: Callable[[], Awaitable[object]]) -> bool:
    """Whether a task that stops something and then goes on is ended by a cancellation so many turns of the loop later."""
    gone_on = asyncio.Event()

    async def run() -> None:
        await stop()
        gone_on.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run())
    for _ in range(turns):
        await asyncio.sleep(0)
    late = gone_on.is_set()
    task.cancel()
    await asyncio.wait([task], timeout=10)
    heard = task.cancelled() and (late or not gone_on.is_set())
    task.cancel()
    await asyncio.wait([task], timeout=10)
    return heard
