"""Watches both halves of the service: how they stand with their groups, and what they have not dealt with yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from aiokafka.errors import KafkaError

from gateway.runtime.health import Finding
from streams.metrics import StreamsMetrics

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Seconds between two looks, and for the brokers to tell where their topics end.
_EVERY = 2.0
_WITHIN = 5.0


class Reader(Protocol):
    """A member of a group that reads topics."""

    def partitions(self) -> int | None:
        """How many partitions it owns; None while the group has not decided."""

    async def backlog(self) -> dict[str, int]:
        """How many records of each topic are not dealt with, of the partitions that it owns. Raises KafkaError."""


def finding(readers: Sequence[Reader]) -> Callable[[], Finding]:
    """A check: well once every reader's group has decided; one that got nothing stands by for the others."""

    def check() -> Finding:
        owned = [reader.partitions() for reader in readers]
        if None in owned:
            return Finding(False, "a group has not decided yet who owns what")
        total = sum(one or 0 for one in owned)
        return Finding(True, f"{total} owned" if total else "standby: others own all partitions")

    return check


async def watch_backlogs(readers: Sequence[Reader], metrics: StreamsMetrics) -> None:
    """Keep the figures of what is not dealt with, until cancelled; where the brokers do not tell they stay as they were."""
    while True:
        for reader in readers:
            try:
                async with asyncio.timeout(_WITHIN):
                    found = await reader.backlog()
            except (KafkaError, TimeoutError) as error:
                _log.debug("the backlog is not known", kind=type(error).__name__)
            else:
                for topic, records in found.items():
                    metrics.backlog(topic, records)
        await asyncio.sleep(_EVERY)
