"""A delivery worker at work, deliveries for it, and what it has written and committed."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from gateway.config import Config
from gateway.contract.endpoints import Endpoint
from gateway.contract.topics import Topics
from streams.delivery.worker import DeliveryWorker
from streams.endpoints import Endpoints
from streams.fanout import expand
from streams.metrics import StreamsMetrics
from tests.support.kafka import read_all
from tests.support.webhooks import QUICK, Receiver, call_event, secret_file

T = TypeVar("T")


class Witness:
    """A receiver's behaviour that fails now and then, and notes what came before its call's earlier events were taken."""

    def __init__(self, *, fails: float = 0.0, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.fails = fails
        self.failing: set[str] = set()
        self.taken: dict[str, set[int]] = defaultdict(set)
        self.times: Counter[tuple[str, int]] = Counter()
        self.early: list[tuple[str, int]] = []

    async def __call__(self, request: web.Request, body: bytes) -> web.StreamResponse:
        data = msgspec.json.decode(body)["data"]
        call, sequence = data["call_id"], data["sequence"]
        self.times[call, sequence] += 1
        if not self.taken[call].issuperset(range(1, sequence)):
            self.early.append((call, sequence))
        await asyncio.sleep(self.random.uniform(0, 0.02))
        if call in self.failing or self.random.random() < self.fails:
            return web.Response(status=503)
        self.taken[call].add(sequence)
        return web.Response()

    def whole(self, calls: Sequence[str], events: int) -> bool:
        """every event of these calls was taken"""
        return all(self.taken[call] == set(range(1, events + 1)) for call in calls)


@asynccontextmanager
async def working(
    config: Config, delays: Sequence[int] = QUICK, *, crash: bool = False
) -> AsyncIterator[StreamsMetrics]:
    """A worker with its partitions that follows the endpoints' topic; at the end it is stopped, or dropped as by a crash."""
    metrics = StreamsMetrics()
    worker = DeliveryWorker(config, metrics, delays=delays)
    async with Endpoints(config, worker.declare, stated=worker.state).followed() as follower:
        await worker.start()
        running = asyncio.create_task(worker.run())
        try:
            async with asyncio.timeout(60):
                await worker.ready()
            yield metrics
            assert not running.done(), running
            assert not follower.done(), follower
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await worker.stop(commit=not crash)


def endpoint(there: Receiver, where: Path, name: str = "e", **settings: Any) -> Endpoint:
    """An endpoint at the receiver's path of the same name."""
    return msgspec.convert(
        {"id": name, "url": there.url(f"/{name}"), "secrets": (secret_file(where),), **settings}, Endpoint
    )


async def produce(config: Config, topics: Topics, name: str, count: int, to: str = "e", age: float = 0.0) -> list[str]:
    """Put deliveries for an endpoint, made so many seconds ago, on their topic; return their ids."""
    found = Endpoint(id=to, url="http://unused/", secrets=("env:S",))
    made = datetime.now(UTC) - timedelta(seconds=age)
    deliveries = [one for n in range(count) for one in expand(call_event(f"{name}{n}"), [found], made)]
    async with AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap, acks="all") as producer:
        for one in deliveries:
            await producer.send(topics.deliveries.name, msgspec.json.encode(one), key=one.endpoint.encode())
        await producer.flush()
    return [one.id for one in deliveries]


async def park(config: Config, topics: Topics, topic: str, name: str, count: int, seconds: float) -> None:
    """Put deliveries on a retry topic that are due in so many seconds."""
    found = Endpoint(id=name, url="http://unused/", secrets=("env:S",))
    due = datetime.now(UTC) + timedelta(seconds=seconds)
    async with AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap, acks="all") as producer:
        for n in range(count):
            (one,) = expand(call_event(f"parked{n}"), [found], datetime.now(UTC))
            waiting = msgspec.structs.replace(one, attempts=1, due_at=due)
            await producer.send(topic, msgspec.json.encode(waiting), key=name.encode())
        await producer.flush()


async def decoded(config: Config, topic: str, kind: type[T]) -> list[T]:
    """Everything on a topic."""
    return [msgspec.json.decode(one.value, type=kind) for one in await read_all(config.kafka.bootstrap, topic)]


async def lag(config: Config, group: str, topics: Sequence[str]) -> int:
    """Records that the group has not committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka.bootstrap)
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets(f"{config.kafka.prefix}-{group}")
    finally:
        await admin.close()
    left = 0
    for topic in topics:
        for record in await read_all(config.kafka.bootstrap, topic):
            at = committed.get(TopicPartition(topic, record.partition))
            left += at is None or record.offset >= at.offset
    return left


def attempts_made(metrics: StreamsMetrics) -> float:
    """How many attempts a worker has made."""
    return sum(
        sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "ringcloud_webhook_attempts_total"
    )
