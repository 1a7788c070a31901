"""The differ's state on its compacted topic: read when a shard is taken over, written with the events that it follows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from gateway.calls.state import AccountState, Parts, encode, load
from gateway.config import KafkaConfig
from gateway.contract.times import Ms
from gateway.contract.topics import Topics
from gateway.runtime.kafka import client_settings, stop_consumer
from gateway.runtime.shards import Kept

_log = structlog.get_logger(__name__)


_HEALTH = "health"


class Memory(msgspec.Struct, frozen=True):
    """What is remembered of an account: the differ's state, and since when it is degraded. Both None where unknown."""

    state: AccountState | None = None
    degraded_since: Ms | None = None


def remembered(parts: Mapping[str, bytes]) -> Memory:
    """The memory of an account out of its kept parts. Raises msgspec.MsgspecError for bytes that are not a part."""
    health = parts.get(_HEALTH)
    return Memory(load(parts.items()), None if health is None else msgspec.msgpack.decode(health, type=Ms))


def health_part(since: Ms | None) -> dict[str, bytes | None]:
    """The part that keeps since when an account is degraded; nothing is kept while it is well."""
    return {_HEALTH: None if since is None else msgspec.msgpack.encode(since)}


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
        await stop_consumer(consumer)
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
