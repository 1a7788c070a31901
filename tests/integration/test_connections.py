"""Connections to brokers: broken under uvloop, given up, and asked for too late."""

import asyncio
import gc

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from gateway.dev.brokers import Broker
from gateway.runtime.connections import mend_connections


async def _ask_over_a_closed_transport(bootstrap: str) -> None:
    host, _, port = bootstrap.rpartition(":")
    connection: AIOKafkaConnection = await create_conn(host, int(port))
    try:
        assert (await connection.send(MetadataRequest([]))).brokers
        transport = connection._writer.transport
        # As when the broker closes it, in the moment before the connection has noticed.
        connection._read_task.cancel()
        transport.abort()
        await asyncio.sleep(0)
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()


def test_a_closed_connection_is_a_kafka_error(broker: Broker) -> None:
    mend_connections()
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(KafkaConnectionError, match="it is closed"),
    ):
        runner.run(_ask_over_a_closed_transport(broker.bootstrap))


async def _leaks(bootstrap: str, turns: int) -> list[str]:
    """What is left open of a consumer whose start is given up after so many turns of the loop."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    starting = asyncio.create_task(consumer.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await consumer.stop()
    return _open_connections()


def _open_connections() -> list[str]:
    gc.collect()
    return [repr(one) for one in gc.get_objects() if type(one) is AIOKafkaConnection and one.connected()]


async def test_a_start_that_is_given_up_leaves_no_connection_open(embedded_broker: Broker) -> None:
    mend_connections()
    for turns in range(0, 300, 5):
        assert await _leaks(embedded_broker.bootstrap, turns) == [], turns


async def test_a_closed_client_makes_no_connection(embedded_broker: Broker) -> None:
    mend_connections()
    client = AIOKafkaClient(bootstrap_servers=embedded_broker.bootstrap)
    await client.bootstrap()
    (broker,) = client.cluster.brokers()
    late = asyncio.create_task(client._get_conn(broker.nodeId))
    await asyncio.sleep(0)
    await client.close()
    assert await late is None
    assert await client._get_conn(broker.nodeId) is None
    assert _open_connections() == []
