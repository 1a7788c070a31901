"""The topics: names, keys, retention, partitions. The one list that creation, checks and docs come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.contract.deliveries import RETRY_DELAYS

_DAY_MS = 24 * 3600 * 1000


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the gateway creates it and checks it at start.

    `width` says what its partition count follows: `shards` for topics whose partition is an account's shard,
    `partitions` for the others.
    """

    name: str
    key: str
    carries: str
    width: Literal["shards", "partitions"]
    compacted: bool = False
    retention_ms: int | None = None

    def settings(self) -> dict[str, str]:
        """The topic's settings in Kafka's own names."""
        if self.compacted:
            return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": str(_DAY_MS)}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}


class Topics:
    """Every topic of a gateway whose names begin with `prefix` (`ringcloud` unless configured).

    There is a retry topic for each of `retry_delays` (seconds).
    """

    def __init__(self, prefix: str = "ringcloud", retry_delays: Sequence[int] = RETRY_DELAYS) -> None:
        def topic(
            name: str,
            key: str,
            carries: str,
            width: Literal["shards", "partitions"],
            days: int | None,
        ) -> Topic:
            return Topic(
                name=f"{prefix}.{name}.v1",
                key=key,
                carries=carries,
                width=width,
                compacted=days is None,
                retention_ms=None if days is None else days * _DAY_MS,
            )

        self.calls = topic("calls", "call id", "call events", "partitions", 7)
        self.poller_state = topic("poller-state", "account + part", "the differ's state in parts", "shards", None)
        self.commands = topic("commands", "account", "requests", "shards", 1)
        self.command_results = topic("command-results", "account", "what became of each request", "shards", 7)
        self.command_dead_letters = topic(
            "command-dead-letters", "shard", "records that are no command and have no id", "partitions", 30
        )
        self.accounts = topic("accounts", "account", "accounts declared at run time", "shards", None)
        self.gateway = topic("gateway", "account", "gaps, degraded and recovered accounts", "shards", 30)
        self.endpoints = topic("webhook-endpoints", "endpoint", "endpoints declared at run time", "partitions", None)
        self.deliveries = topic("webhook-deliveries", "endpoint", "what to deliver", "partitions", 7)
        self.retries: dict[int, Topic] = {
            delay: topic(f"webhook-retries-{delay}s", "endpoint", f"deliveries due {delay} s later", "partitions", 7)
            for delay in retry_delays
        }
        self.attempts = topic("webhook-attempts", "endpoint", "every attempt and its outcome", "partitions", 7)
        self.dead_letters = topic("webhook-dead-letters", "endpoint", "deliveries given up, with why", "partitions", 30)

    def all(self) -> list[Topic]:
        """Every topic, in the order of a call's trip."""
        return [
            self.calls,
            self.poller_state,
            self.commands,
            self.command_results,
            self.command_dead_letters,
            self.accounts,
            self.gateway,
            self.endpoints,
            self.deliveries,
            *self.retries.values(),
            self.attempts,
            self.dead_letters,
        ]
