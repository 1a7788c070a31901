"""Mends aiokafka's connections under uvloop: one that the broker has closed is broken, and nothing worse."""

from __future__ import annotations

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def _send_or_break(self: Any, request: Any, expect_response: bool = True) -> Any:
    # aiokafka expects OSError, as asyncio raises it. uvloop raises RuntimeError, which ends the client's task that keeps
    # its metadata: the client would never find its brokers again.
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: it is closed") from error


def mend_connections() -> None:
    """Mend every connection that aiokafka makes in this process. May be called again."""
    AIOKafkaConnection.send = _send_or_break
