"""Connections to brokers under uvloop, which the services run on."""

import asyncio

import pytest
import uvloop
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
