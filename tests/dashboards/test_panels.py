"""Every query of every panel gives data from a real Prometheus that scraped a running demo."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.commands.client import send_and_follow
from gateway.contract.commands import Originate
from gateway.contract.topics import Topics
from gateway.dev.options import DevOptions
from gateway.dev.receiver import Arrival
from gateway.dev.stage import Stage
from tests.dashboards.panels import ROOT, panels
from tests.support.prometheus import Prometheus, prometheus, promtool
from tests.support.waiting import eventually

WEEK = 7 * 24 * 3600
_VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$account": ".*"}


def queries() -> Iterator[tuple[str, str]]:
    """Each panel's name, and each of its queries."""
    for panel in panels(_VARIABLES):
        for legend, query in panel.queries:
            yield f"{panel.dashboard}: {panel.title} ({legend})", query


def remember_last_week(folder: Path, account: int) -> None:
    """Let Prometheus have scraped, a week ago, what is compared with now."""
    now = int(time.time())
    lines = []
    for name, rate in (("ringcloud_active_calls", 0), ("ringcloud_calls_started_total", 1)):
        lines.append(f"# TYPE {name.removesuffix('_total')} {'counter' if rate else 'gauge'}")
        lines += [f'{name}{{account="{account}"}} {1 + rate * n} {now - WEEK - 300 + 5 * n}' for n in range(200)]
    file = folder / "last-week.txt"
    file.write_text("\n".join([*lines, "# EOF", ""]))
    promtool("tsdb", "create-blocks-from", "openmetrics", str(file), str(folder / "data"))


async def exemplars(server: Prometheus, since: float) -> tuple[set[str], set[str]]:
    """The calls and the deliveries that exemplars name, as Prometheus has kept them: of every figure that has any."""
    calls: set[str] = set()
    for name in (
        "ringcloud_snapshot_to_commit_seconds_bucket",
        "ringcloud_fanout_seconds_bucket",
        "ringcloud_webhook_delivered_seconds_bucket",
        "ringcloud_answered_call_duration_seconds_bucket",
    ):
        found = await server.exemplars(name, since, time.time())
        assert found, name
        assert {label for one in found for label in one} == {"call_id"}
        calls |= {one["call_id"] for one in found}
    attempts = await server.exemplars("ringcloud_webhook_attempt_seconds_bucket", since, time.time())
    assert {label for one in attempts for label in one} == {"delivery"}
    return calls, {one["delivery"] for one in attempts}


async def served(listen: str) -> list[Metric]:
    """What a service serves at /metrics."""
    async with aiohttp.ClientSession(trust_env=False) as http, http.get(f"http://{listen}/metrics") as answer:
        return list(text_string_to_metric_families(await answer.text()))


def all_are_documented(families: list[Metric]) -> None:
    """Each figure of ours is in docs/metrics.md."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    own = [one.name + "_total" * (one.type == "counter") for one in families if one.name.startswith("ringcloud_")]
    assert len(own) > 10
    short = {name: name.replace("ringcloud_webhook", "…") for name in own}
    assert [name for name in own if f"`{name}`" not in text and f"`{short[name]}`" not in text] == []


def no_label_tells_of_anybody(families: list[Metric], ledger: list[dict[str, Any]], url: str) -> None:
    """No number, name or URL of the demo is in a label."""
    values = {
        value
        for family in families
        for sample in family.samples
        for label, value in sample.labels.items()
        # Extensions are short numbers, as accounts, limits of buckets and the like may be.
        if label not in ("account", "le", "version", "generation")
    }
    people = {call[name] for call in ledger for name in ("src", "dst")}
    assert len(people) > 10
    assert values.isdisjoint(people)
    assert [one for one in values if url in one or "://" in one] == []


async def test_every_panel_shows_something(tmp_path: Path) -> None:
    asked = list(queries())
    shown: dict[str, tuple[dict[str, str], float]] = {}

    async def all_shown(server: Prometheus) -> bool:
        for panel, query in asked:
            if panel in shown:
                continue
            found = [one for one in await server.value(query) if not math.isnan(one[1])]
            if found:
                shown[panel] = max(found, key=lambda one: one[1])
        return len(shown) == len({panel for panel, _ in asked})

    arrivals: list[Arrival] = []
    began = time.time()
    async with Stage(DevOptions(accounts=2), lambda _: None, arrivals.append) as stage:
        remember_last_week(tmp_path, stage.accounts[0])
        metrics = stage.config.metrics
        targets = {"gateway": metrics.gateway, "streams": metrics.streams}
        async with prometheus(tmp_path, targets, [ROOT / "deploy/prometheus/alerts.yaml"]) as server:
            await stage.place_calls(240)
            command = Originate(id="one", account=stage.accounts[0], user="401", num="74951234567")
            results = [one.status async for one in send_and_follow(stage.config.kafka, command, timeout=60)]
            assert results[-1] == "succeeded"
            try:
                await eventually(lambda: all_shown(server), 120.0, "every panel shows something", 1.0)
            except AssertionError:
                missing = [panel for panel, _ in asked if panel not in shown]
                raise AssertionError(f"nothing to see: {missing}") from None
            calls, deliveries = await exemplars(server, began)
            assert calls
            assert deliveries
            told = {one.rpartition("-")[0].rpartition("-")[0] for one in deliveries} | calls

            def received() -> bool:
                """every call that an exemplar names was told of"""
                return told <= {arrival.event["subject"] for arrival in arrivals}

            await eventually(received, 30.0)
            ledger = json.loads(await stage.ledger())
            for service in targets.values():
                families = await served(service)
                all_are_documented(families)
                no_label_tells_of_anybody(families, ledger, stage.receiver.url)
            # A record that is no delivery.
            topic = Topics(stage.config.kafka.prefix).deliveries.name
            async with AIOKafkaProducer(bootstrap_servers=stage.config.kafka.bootstrap) as producer:
                await producer.send_and_wait(topic, b"no delivery")
            alert = 'ALERTS{alertname="RingCloudDeadLetters",alertstate="firing"}'
            await eventually(lambda: server.value(alert), 30.0, "the alert that is due", 1.0)
    for panel, (labels, value) in shown.items():
        print(f"{panel:75} {value:12.4g}  {labels or ''}")  # noqa: T201 - the table that `make dashboards-test` shows
    assert len(shown) > 30
