"""What outlives a broker that is stopped, killed or restarted; on brokers of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from gateway.dev.brokers import ApacheKafka, Broker, EmbeddedBroker
from tests.integration.conftest import need_apache_kafka, running
from tests.support.kafka import committed_offset, create_topic, read_values, transactional
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def own_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def own_embedded(own_dir: Path) -> Iterator[Broker]:
    yield from running(EmbeddedBroker(own_dir / "embedded"))


@pytest.fixture(scope="module")
def own_kafka(own_dir: Path) -> Iterator[Broker]:
    need_apache_kafka()
    yield from running(ApacheKafka(own_dir / "kafka"))


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def own_broker(request: pytest.FixtureRequest) -> Broker:
    found: Broker = request.getfixturevalue(f"own_{request.param}")
    return found


async def test_committed_records_and_offsets_survive_a_stop_and_an_open_transaction_does_not(
    own_broker: Broker, prefix: str
) -> None:
    broker, topic, group = own_broker, f"{prefix}t", f"{prefix}group"
    bootstrap = broker.bootstrap
    await create_topic(bootstrap, topic, partitions=2)
    partition = TopicPartition(topic, 0)
    await commit_abort_and_leave_open(broker, topic, group, f"{prefix}shard")
    await broker.stop()
    assert broker.pid is None
    await broker.start()
    assert broker.bootstrap == bootstrap
    async with transactional(broker.bootstrap, f"{prefix}shard") as new, new.transaction():
        await new.send_and_wait(topic, b"new", partition=0)
    assert await read_values(broker.bootstrap, topic) == [b"committed", b"new"]
    assert await committed_offset(broker.bootstrap, group, partition) == 5


async def test_committed_records_and_offsets_survive_a_sigkill_and_an_open_transaction_does_not(
    own_broker: Broker, own_dir: Path, prefix: str
) -> None:
    broker, topic, group = own_broker, f"{prefix}t", f"{prefix}group"
    bootstrap = broker.bootstrap
    await create_topic(bootstrap, topic, partitions=2)
    partition = TopicPartition(topic, 0)
    await commit_abort_and_leave_open(broker, topic, group, f"{prefix}shard")
    if isinstance(broker, EmbeddedBroker):
        # It writes a snapshot about once a second and loses to a SIGKILL what came after the last one.
        snapshot = own_dir / "embedded" / "data" / "kafka.json"
        await eventually(lambda: snapshot.exists() and group in snapshot.read_text(), what="the snapshot is written")
    await broker.kill()
    assert broker.pid is None
    await broker.restart()
    assert broker.bootstrap == bootstrap
    async with transactional(broker.bootstrap, f"{prefix}shard") as new, new.transaction():
        await new.send_and_wait(topic, b"new", partition=0)
    assert await read_values(broker.bootstrap, topic) == [b"committed", b"new"]
    assert await committed_offset(broker.bootstrap, group, partition) == 5


async def commit_abort_and_leave_open(broker: Broker, topic: str, group: str, transactional_id: str) -> None:
    """An aborted transaction, then a committed one with an offset (5), then one that its producer leaves open."""
    async with transactional(broker.bootstrap, transactional_id) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed", partition=0)
            await producer.send_offsets_to_transaction({TopicPartition(topic, 0): 5}, group)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"left open", partition=0)


@pytest.mark.kafka
async def test_a_producer_finishes_its_transaction_over_a_restart_and_is_still_fenced_after_it(
    own_kafka: Broker, prefix: str
) -> None:
    # Not so on the embedded broker: it forgets open transactions and transactional ids at a restart.
    broker, topic = own_kafka, f"{prefix}t"
    await create_topic(broker.bootstrap, topic)
    async with transactional(broker.bootstrap, f"{prefix}shard") as old:
        await old.begin_transaction()
        await old.send_and_wait(topic, b"before")
        await broker.restart()
        await old.send_and_wait(topic, b"after")
        await old.commit_transaction()
        async with transactional(broker.bootstrap, f"{prefix}shard"):
            await broker.restart()
            with pytest.raises(ProducerFenced):
                async with old.transaction():
                    await old.send_and_wait(topic, b"too late")
    assert await read_values(broker.bootstrap, topic) == [b"before", b"after"]
