"""What the pages say in numbers and names is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import KafkaConfig
from gateway.contract.topics import Topics

ROOT = Path(__file__).parents[3]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def table(text: str) -> dict[str, str]:
    """What a table of topics says of each: how long it is kept, by the topic's name without prefix."""
    found: dict[str, str] = {}
    for row in re.findall(r"^\| `[^|]*\.v1`.*$", text, re.MULTILINE):
        names, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        kept = next((cell for cell in cells if re.fullmatch(r"compacted|\d+ d", cell)), None)
        # Other tables say other things of topics.
        if kept is None:
            continue
        found |= {name.removeprefix("ringcloud."): kept for name in re.findall(r"`([^`]+)`", names)}
    return found


@pytest.mark.parametrize("page", ["docs/operations.md", "README.md"])
def test_the_table_of_topics_is_right(page: str) -> None:
    said = table((ROOT / page).read_text(encoding="utf-8"))
    topics = Topics()
    single = [topic for topic in topics.all() if topic not in topics.retries.values()]
    days = {
        topic.name.removeprefix("ringcloud."): "compacted"
        if topic.retention_ms is None
        else f"{topic.retention_ms // 86_400_000} d"
        for topic in single
    }
    retries = {name: kept for name, kept in said.items() if name.startswith("webhook-retries-")}
    assert list(retries.values()) == ["7 d"]
    assert {name: kept for name, kept in said.items() if name not in retries} == days


def test_the_number_of_partitions_is_right() -> None:
    config = KafkaConfig(bootstrap="kafka:9092")
    topics = Topics().all()
    shards = [topic for topic in topics if topic.width == "shards"]
    sentence = next(one for one in OPERATIONS.split("\n\n") if one.startswith("Partitions: "))
    all_ = len(shards) * config.shards + (len(topics) - len(shards)) * config.partitions
    assert f"({len(topics) - len(shards)})" in sentence
    assert f"{all_} by default" in sentence
    assert len(shards) == 5
    assert "five topics of `shards`" in sentence
