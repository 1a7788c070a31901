"""Which shard an account belongs to: a shard is a partition of the account-keyed topics."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


def key_of(account: int) -> bytes:
    """The Kafka key of an account's records."""
    return str(account).encode()


def shard_of(account: int, shards: int) -> int:
    """The partition that Kafka's default partitioner (Java's, aiokafka's) gives the account's key."""
    return int(murmur2(key_of(account)) & 0x7FFFFFFF) % shards
