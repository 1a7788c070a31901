"""Who owns which shard: a consumer group over the command topic, whose partitions are the shards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from gateway.config import KafkaConfig
from gateway.contract.topics import Topics
from gateway.polling import metrics
from gateway.polling.shard import Shard, Work
from gateway.runtime.health import Finding
from gateway.runtime.kafka import client_settings, stop_consumer

_log = structlog.get_logger(__name__)

# Seconds that commands on the wire get to be answered, and their results to be written, when their shards are taken away,
# for which others wait meanwhile, or the process ends.
_REVOKE_GRACE = 2.0
_STOP_GRACE = 5.0


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Runs the shards that the group gives to this process, and hands each its commands.

    Shards with accounts run from assignment on; the others start with the first account or command that comes for them.
    """

    def __init__(
        self,
        config: KafkaConfig,
        work: Work,
        taken_over: Callable[[Iterable[int]], None],
    ) -> None:
        """`taken_over` is told of shards that were not this process's."""
        self._config = config
        self._work = work
        self._taken_over = taken_over
        self._group = f"{config.prefix}-gateway"
        self._topic = Topics(config.prefix).commands.name
        self._shards: dict[int, tuple[Shard, asyncio.Task[None]]] = {}
        self._owned: frozenset[int] = frozenset()
        self._failed: asyncio.Future[None] | None = None
        self.assigned = asyncio.Event()

    async def run(self) -> None:
        """Be a member of the group until cancelled. What a shard raises beyond Kafka's failures ends this too."""
        failed = self._failed = asyncio.get_running_loop().create_future()
        consumer = AIOKafkaConsumer(
            **client_settings(self._config, "gateway"),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(self._config.session_timeout * 1000),
            heartbeat_interval_ms=int(self._config.session_timeout * 200),
            fetch_max_wait_ms=250,
        )
        self._consumer = consumer
        consumer.subscribe([self._topic], listener=self)
        feed: asyncio.Task[None] | None = None
        try:
            await consumer.start()
            feed = asyncio.create_task(self._feed(consumer))
            done, _ = await asyncio.wait([feed, failed], return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            # Nothing starts any more, whatever the group still decides.
            self._failed = None
            failed.cancel()
            if feed is not None:
                feed.cancel()
                await asyncio.gather(feed, return_exceptions=True)
            await self._stop(list(self._shards), _STOP_GRACE)
            await stop_consumer(consumer)

    def finding(self) -> Finding:
        """How it stands with the group: shards to work on, or none, which is to stand by for who has them."""
        if not self.assigned.is_set():
            return Finding(False, "the group has not decided yet who owns what")
        owned = len(self._owned)
        return Finding(True, f"{owned} owned" if owned else "standby: others own all shards")

    def accounts_changed(self, shards: Iterable[int]) -> None:
        """Accounts of these shards were declared, withdrawn or declared anew."""
        for number in shards:
            if number in self._owned and self._failed is not None:
                self._start(number).accounts_changed()

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Stop what was owned before anyone else can own it."""
        numbers = {one.partition for one in revoked}
        self.assigned.clear()
        # First of all, so that what was fetched already starts none of them again.
        self._owned -= numbers
        await self._stop(list(numbers), _REVOKE_GRACE)
        metrics.SHARDS.set(len(self._owned))

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Start the shards with accounts. A former owner may have asked RingCloud just now, so a lane rests first."""
        if self._failed is None:
            return
        numbers = sorted(one.partition for one in assigned)
        self._owned = frozenset(numbers)
        metrics.SHARDS.set(len(numbers))
        _log.info("shards assigned", shards=len(numbers))
        self._taken_over(numbers)
        for number in numbers:
            if self._work.accounts(number):
                self._start(number)
        self.assigned.set()

    async def _feed(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for partition, records in (await consumer.getmany(timeout_ms=1000)).items():
                if partition.partition in self._owned:
                    # One batch at a time: the rest waits on the topic, not in memory.
                    consumer.pause(partition)
                    self._start(partition.partition).give(records)

    def _start(self, number: int) -> Shard:
        running = self._shards.get(number)
        if running is not None:
            return running[0]
        shard = Shard(number, self._config, self._group, self._work, lambda: self._resume(number))
        task = asyncio.create_task(shard.run(), name=f"shard {number}")
        task.add_done_callback(self._ended)
        self._shards[number] = (shard, task)
        return shard

    def _resume(self, number: int) -> None:
        partition = TopicPartition(self._topic, number)
        if partition in self._consumer.assignment():
            self._consumer.resume(partition)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and self._failed and not self._failed.done():
            self._failed.set_exception(error)

    async def _stop(self, numbers: list[int], grace: float) -> None:
        stopping = [self._shards.pop(number) for number in numbers if number in self._shards]
        try:
            await asyncio.gather(*(shard.settle(grace) for shard, _ in stopping))
        finally:
            for _, task in stopping:
                task.cancel()
            await asyncio.gather(*(task for _, task in stopping), return_exceptions=True)
