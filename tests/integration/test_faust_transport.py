"""A real Faust app, with our transport and with Faust's own, on a topic that holds aborted records."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import faust
import pytest
from aiokafka import AIOKafkaProducer

from gateway.dev.brokers import Broker
from streams.transport import CommittedTransport, TransportError, use_committed_transport
from tests.support.kafka import create_topic

# A worker's start, its group's first assignment, and a slow machine.
START_SECONDS = 60


@asynccontextmanager
async def probe(broker: Broker, topic: str, directory: Path, mode: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The Faust app in a process of its own, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.faust_probe", broker.bootstrap, topic, str(directory), mode),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def next_values(process: asyncio.subprocess.Process, count: int) -> list[str]:
    """The next values that the app has received, in order; fewer when it ended."""
    assert process.stdout is not None
    async with asyncio.timeout(START_SECONDS):
        lines = [await process.stdout.readline() for _ in range(count)]
    # Faust's worker writes signs that hide the cursor, even into a pipe.
    return [line.decode().partition("got: ")[2].rstrip("\n") for line in lines if line]


async def fill(broker: Broker, topic: str, transactional_id: str) -> None:
    """One committed transaction, one aborted, two committed."""
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=transactional_id)
    async with producer:
        for values, commit in (
            ([b"committed 1", b"committed 2"], True),
            ([b"aborted 1", b"aborted 2"], False),
            ([b"committed 3"], True),
            ([b"committed 4"], True),
        ):
            await producer.begin_transaction()
            for value in values:
                await producer.send_and_wait(topic, value)
            await (producer.commit_transaction() if commit else producer.abort_transaction())


async def test_faust_with_our_transport_sees_committed_records_only(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    await fill(broker, topic, f"{prefix}id")
    async with probe(broker, topic, tmp_path, "committed") as app:
        assert await next_values(app, 4) == ["committed 1", "committed 2", "committed 3", "committed 4"]


async def test_fausts_own_transport_sees_aborted_records_too(broker: Broker, prefix: str, tmp_path: Path) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    await fill(broker, topic, f"{prefix}id")
    async with probe(broker, topic, tmp_path, "default") as app:
        assert await next_values(app, 4) == ["committed 1", "committed 2", "aborted 1", "aborted 2"]


async def test_faust_with_our_transport_waits_for_the_commit(broker: Broker, prefix: str, tmp_path: Path) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic, partitions=2)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=f"{prefix}id")
    async with (
        producer,
        AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as plain,
        probe(broker, topic, tmp_path, "committed") as app,
    ):
        await plain.send_and_wait(topic, b"the app is up", partition=0)
        assert await next_values(app, 1) == ["the app is up"]
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"in the transaction", partition=0)
        # The other partition has nothing open: once this one is seen, the app has fetched after the open record.
        await plain.send_and_wait(topic, b"beside it", partition=1)
        assert await next_values(app, 1) == ["beside it"]
        await producer.commit_transaction()
        assert await next_values(app, 1) == ["in the transaction"]


async def test_an_app_whose_consumer_would_read_uncommitted_does_not_run(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    topic = f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    await fill(broker, topic, f"{prefix}id")
    async with probe(broker, topic, tmp_path, "moved") as app, asyncio.timeout(START_SECONDS):
        output, errors = await app.communicate()
    assert app.returncode != 0
    assert b"got: " not in output
    assert b"only committed records may be read, and this cannot be assured" in errors


async def test_an_app_that_made_its_consumer_already_is_refused() -> None:
    app = faust.App("late", broker="kafka://127.0.0.1:1", web_enabled=False)
    # Faust leaves the loop of a consumer that never ran to the garbage collector.
    vars(app.consumer)["_thread"].thread_loop.close()
    with pytest.raises(TransportError, match="made its consumer already"):
        use_committed_transport(app)


async def test_a_faust_without_the_places_hooked_into_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    app = faust.App("moved", broker="kafka://127.0.0.1:1", web_enabled=False)
    monkeypatch.delattr("faust.transport.drivers.aiokafka.AIOKafkaConsumerThread._create_worker_consumer")
    with pytest.raises(TransportError, match="_create_worker_consumer any more"):
        use_committed_transport(app)


async def test_a_faust_that_makes_another_consumer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    app = faust.App("other", broker="kafka://127.0.0.1:1", web_enabled=False)
    use_committed_transport(app)
    monkeypatch.setattr(CommittedTransport, "Consumer", lambda *_, **__: object())
    with pytest.raises(TransportError, match="did not take the consumer"):
        assert app.consumer
