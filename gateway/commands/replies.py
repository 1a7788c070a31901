"""The topics that results may be sent to besides their own."""

from __future__ import annotations

import time

from aiokafka.admin import AIOKafkaAdminClient

from gateway.commands.intake import rejection
from gateway.config import KafkaConfig
from gateway.contract.commands import Command
from gateway.runtime.kafka import client_settings

# How long the brokers' list of topics is believed where a topic is not in it.
_ASK_AGAIN_SECONDS = 10.0


class ReplyTopics:
    """Those that the configuration allows, as far as they are there: to write to one that is not would stop a shard."""

    def __init__(self, config: KafkaConfig, allowed: tuple[str, ...]) -> None:
        self._config = config
        self._allowed = frozenset(allowed)
        self._there: frozenset[str] = frozenset()
        self._asked_at = float("-inf")

    async def check(self, command: Command) -> None:
        """Pass a command whose results can go where it asks. Raises Rejected; KafkaError where the brokers can't say."""
        topic = command.reply_to
        if topic is None:
            return
        if topic not in self._allowed:
            raise rejection(command, "reply_to", "is not among commands.reply_topics")
        if topic not in self._there and time.monotonic() - self._asked_at > _ASK_AGAIN_SECONDS:
            self._there = await self._list()
            self._asked_at = time.monotonic()
        if topic not in self._there:
            raise rejection(command, "reply_to", "there is no such topic")

    async def _list(self) -> frozenset[str]:
        admin = AIOKafkaAdminClient(**client_settings(self._config, "replies"))
        try:
            await admin.start()
            return frozenset(await admin.list_topics())
        finally:
            await admin.close()
