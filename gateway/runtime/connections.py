"""Mends aiokafka's connections: broken ones under uvloop, and those that are left open when a client is given up."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from aiokafka import client as client_module
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send
_bootstrap = AIOKafkaClient.bootstrap
_get_conn = AIOKafkaClient._get_conn  # noqa: SLF001 - aiokafka has no other place for it
_close = AIOKafkaClient.close

_closed: WeakSet[AIOKafkaClient] = WeakSet()
# Weak: the task that keeps the metadata begins there too, and inherits it for good.
_made: ContextVar[WeakSet[AIOKafkaConnection]] = ContextVar("made")


def _send_or_break(self: Any, request: Any, expect_response: bool = True) -> Any:
    # aiokafka expects OSError, as asyncio raises it. uvloop raises RuntimeError, which ends the client's task that keeps
    # its metadata: the client would never find its brokers again.
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: it is closed") from error


async def _create_and_note(*where: Any, **settings: Any) -> AIOKafkaConnection:
    connection = await create_conn(*where, **settings)
    if (made := _made.get(None)) is not None:
        made.add(connection)
    return connection


async def _bootstrap_or_close(self: Any) -> None:
    # Its connection is a local variable there: cancelled while it waits for an answer, it would leave it open.
    made: WeakSet[AIOKafkaConnection] = WeakSet()
    token = _made.set(made)
    try:
        await _bootstrap(self)
    except BaseException:
        for connection in made:
            connection.close()
        raise
    finally:
        _made.reset(token)


async def _close_for_good(self: Any) -> None:
    _closed.add(self)
    await _close(self)


async def _get_conn_unless_closed(self: Any, *which: Any, **how: Any) -> AIOKafkaConnection | None:
    # A task that outlives its client for a moment would make a connection that nobody closes.
    connection: AIOKafkaConnection | None = None if self in _closed else await _get_conn(self, *which, **how)
    if connection is not None and self in _closed:
        connection.close()
        return None
    return connection


def mend_connections() -> None:
    """Mend every connection that aiokafka makes in this process. May be called again."""
    AIOKafkaConnection.send = _send_or_break
    client_module.create_conn = _create_and_note
    AIOKafkaClient.bootstrap = _bootstrap_or_close
    AIOKafkaClient.close = _close_for_good
    AIOKafkaClient._get_conn = _get_conn_unless_closed  # noqa: SLF001
