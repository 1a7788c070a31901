"""Shards: which one an account belongs to, what its workers share, and how its accounts' state is keyed.

A shard is a partition of the account-keyed topics.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiokafka.partitioner import murmur2

from gateway.contract.topics import Topics
from gateway.runtime.committer import Committer, Record

# account -> part's name -> bytes
Kept = dict[int, dict[str, bytes]]


class Handles(msgspec.Struct, frozen=True):
    """What a shard gives to those that work in it; `kept` is the state that was read when it was taken over."""

    number: int
    committer: Committer
    topics: Topics
    kept: Kept


def key_of(account: int) -> bytes:
    """The Kafka key of an account's records."""
    return str(account).encode()


def shard_of(account: int, shards: int) -> int:
    """The partition that Kafka's default partitioner (Java's, aiokafka's) gives the account's key."""
    return int(murmur2(key_of(account)) & 0x7FFFFFFF) % shards


def state_records(shard: Handles, account: int, parts: Mapping[str, bytes | None]) -> list[Record]:
    """The records that keep these parts of an account's state; None removes one.

    Their partition is the account's shard, though their key is the account and the part.
    """
    topic = shard.topics.poller_state.name
    return [Record(topic, f"{account}/{part}".encode(), raw, (), shard.number) for part, raw in parts.items()]
