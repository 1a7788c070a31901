"""What reads records for workers, on real brokers: a full partition is left aside, holds up no other, and goes on."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from gateway.dev.brokers import Broker
from streams.delivery.intake import Entry, Intake
from tests.support.kafka import create_topic
from tests.support.waiting import eventually

WINDOW = 3
RECORDS = 20
FULL, FREE = 0, 1


class Reading:
    """An intake whose entries are begun, and done when told so."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.topic = topic
        self.broker = broker
        self.begun: dict[int, list[Entry]] = defaultdict(list)
        self._done: Counter[int] = Counter()
        self.intake = Intake(
            bootstrap=broker.bootstrap,
            group=f"{topic}-group",
            member="a",
            topics=[topic],
            window=WINDOW,
            session_timeout=10.0,
            handler=lambda entry: self.begun[entry.partition.tp.partition].append(entry),
            release=self._release,
            changed=lambda: None,
            max_wait_ms=30,
        )

    async def write(self, partition: int, count: int) -> None:
        """Write so many records to a partition."""
        async with AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap) as producer:
            for n in range(count):
                await producer.send_and_wait(self.topic, str(n).encode(), partition=partition)

    def offsets(self, partition: int) -> list[int]:
        """What was begun of a partition."""
        return [entry.offset for entry in self.begun[partition]]

    async def finish(self, partition: int, count: int) -> None:
        """Finish so many more entries of a partition, one by one, as they are begun."""
        for n in range(self._done[partition], self._done[partition] + count):
            await eventually(lambda n=n: len(self.begun[partition]) > n)  # type: ignore[misc] # no type for the default
            self.begun[partition][n].done()
            assert len(self.begun[partition]) <= n + 1 + WINDOW
        self._done[partition] += count

    async def _release(self, _: list[Entry]) -> None:
        """Nothing is to be ended."""


@asynccontextmanager
async def reading(broker: Broker, prefix: str, partitions: int) -> AsyncIterator[Reading]:
    """An intake of a topic of its own, which has all of its partitions and reads."""
    topic = f"{prefix}records"
    await create_topic(broker.bootstrap, topic, partitions)
    there = Reading(broker, topic)
    await there.intake.start()
    running = asyncio.create_task(there.intake.run())
    try:
        await there.intake.assigned.wait()
        yield there
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await there.intake.stop()


@pytest.mark.parametrize("partitions", [1, 2])
async def test_a_full_partition_goes_on_as_its_records_are_done_and_none_comes_twice(
    broker: Broker, prefix: str, partitions: int
) -> None:
    async with reading(broker, prefix, partitions) as there:
        await there.write(FULL, RECORDS)
        await eventually(lambda: len(there.begun[FULL]) == WINDOW)
        await there.finish(FULL, RECORDS)
        await there.write(FULL, RECORDS)
        await there.finish(FULL, RECORDS)
        assert there.offsets(FULL) == list(range(2 * RECORDS))


async def test_a_full_partition_holds_up_no_other(broker: Broker, prefix: str) -> None:
    async with reading(broker, prefix, 2) as there:
        await there.write(FULL, RECORDS)
        await eventually(lambda: len(there.begun[FULL]) == WINDOW)
        await there.write(FREE, RECORDS)
        await there.finish(FREE, RECORDS)
        assert there.offsets(FREE) == list(range(RECORDS))
        assert there.offsets(FULL) == list(range(WINDOW))
