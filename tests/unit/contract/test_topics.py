"""The topics: the table that the documents promise, letter for letter."""

from __future__ import annotations

import re

import pytest

from gateway.contract.topics import Topic, Topics

DAY = 86_400_000
RETRIES = (5, 30, 120, 600, 1_800, 7_200, 21_600, 43_200, 86_400)
# name -> key, days kept (None: compacted)
TABLE = {
    "ringcloud.calls.v1": ("call id", 7),
    "ringcloud.poller-state.v1": ("account + part", None),
    "ringcloud.commands.v1": ("account", 1),
    "ringcloud.command-results.v1": ("account", 7),
    "ringcloud.command-dead-letters.v1": ("shard", 30),
    "ringcloud.accounts.v1": ("account", None),
    "ringcloud.gateway.v1": ("account", 30),
    "ringcloud.webhook-endpoints.v1": ("endpoint", None),
    "ringcloud.webhook-deliveries.v1": ("endpoint", 7),
    **{f"ringcloud.webhook-retries-{delay}s.v1": ("endpoint", 7) for delay in RETRIES},
    "ringcloud.webhook-attempts.v1": ("endpoint", 7),
    "ringcloud.webhook-dead-letters.v1": ("endpoint", 30),
}


def test_the_topics_are_those_of_the_table() -> None:
    assert {topic.name: topic.key for topic in Topics().all()} == {name: key for name, (key, _) in TABLE.items()}


@pytest.mark.parametrize("topic", Topics().all(), ids=lambda topic: topic.name)
def test_each_is_kept_as_the_table_says(topic: Topic) -> None:
    days = TABLE[topic.name][1]
    settings = topic.settings()
    if days is None:
        assert settings["cleanup.policy"] == "compact"
        assert "retention.ms" not in settings
    else:
        assert settings == {"cleanup.policy": "delete", "retention.ms": str(days * DAY)}


def test_topics_keyed_by_the_account_are_as_wide_as_the_shards() -> None:
    wide = {topic.name for topic in Topics().all() if topic.width == "shards"}
    assert wide == {
        "ringcloud.poller-state.v1",
        "ringcloud.commands.v1",
        "ringcloud.command-results.v1",
        "ringcloud.accounts.v1",
        "ringcloud.gateway.v1",
    }


def test_the_prefix_begins_every_name() -> None:
    assert all(topic.name.startswith("test-7.") for topic in Topics("test-7").all())
    assert Topics("test-7").calls.name == "test-7.calls.v1"


def test_every_name_is_one_that_kafka_takes() -> None:
    names = [topic.name for topic in Topics("a" * 100).all()]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) for name in names)
    assert len(set(names)) == len(names)


def test_there_is_a_retry_topic_for_each_delay() -> None:
    assert tuple(Topics().retries) == RETRIES
    assert {delay: topic.name for delay, topic in Topics("p", (1, 60)).retries.items()} == {
        1: "p.webhook-retries-1s.v1",
        60: "p.webhook-retries-60s.v1",
    }
