"""The differ's state on its compacted topic: read when a shard is taken over, written with the events that it follows."""

from __future__ import annotations

from collections import defaultdict

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.calls.state import Parts, encode
from gateway.config import KafkaConfig
from gateway.contract.topics import Topics
from gateway.runtime.kafka import client_settings
from gateway.runtime.shards import Kept

_log = structlog.get_logger(__name__)


def encoded(parts: Parts) -> dict[str, bytes | None]:
    """The differ's parts as they are kept."""
    return {name: encode(part) for name, part in parts.items()}


async def load_shard(config: KafkaConfig, shard: int) -> Kept:
    """What is kept of every account of a shard.

    To be called once the shard's producer is up: that ended what a former owner had begun, so the last committed record
    is the end. A key that is not the gateway's is logged and passed over.
    """
    kept: Kept = defaultdict(dict)
    partition = TopicPartition(Topics(config.prefix).poller_state.name, shard)
    consumer = AIOKafkaConsumer(
        **client_settings(config, "state-reader"),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    try:
        await consumer.start()
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    _keep(kept, record.key, record.value)
    finally:
        await consumer.stop()
    return kept


def _keep(kept: Kept, key: bytes | None, value: bytes | None) -> None:
    number, separator, part = (key or b"").decode("utf-8", "replace").partition("/")
    if not separator or not number.isascii() or not number.isdigit():
        _log.warning("a record of the state topic has a key that is not the gateway's", key=number[:40])
        return
    if value is None:
        kept[int(number)].pop(part, None)
    else:
        kept[int(number)][part] = value
