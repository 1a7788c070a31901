"""Every query of every panel gives data from a real Prometheus that scraped a running demo."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

from aiokafka import AIOKafkaProducer

from gateway.commands.client import send_and_follow
from gateway.contract.commands import Originate
from gateway.contract.topics import Topics
from gateway.dev.options import DevOptions
from gateway.dev.stage import Stage
from tests.support.prometheus import Prometheus, prometheus, promtool
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
WEEK = 7 * 24 * 3600
_VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$account": ".*"}


def queries() -> Iterator[tuple[str, str]]:
    """Each panel's name, and each of its queries as Grafana would send it."""
    for path in sorted((ROOT / "deploy" / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"]
                for name, value in _VARIABLES.items():
                    query = query.replace(name, value)
                assert "$" not in query, query
                yield f"{path.stem}: {panel['title']} ({target['legendFormat']})", query


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

    async with Stage(DevOptions(accounts=2), lambda _: None, lambda _: None) as stage:
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
            # A record that is no delivery.
            topic = Topics(stage.config.kafka.prefix).deliveries.name
            async with AIOKafkaProducer(bootstrap_servers=stage.config.kafka.bootstrap) as producer:
                await producer.send_and_wait(topic, b"no delivery")
            alert = 'ALERTS{alertname="RingCloudDeadLetters",alertstate="firing"}'
            await eventually(lambda: server.value(alert), 30.0, "the alert that is due", 1.0)
    for panel, (labels, value) in shown.items():
        print(f"{panel:75} {value:12.4g}  {labels or ''}")  # noqa: T201 - the table that `make dashboards-test` shows
    assert len(shown) > 30
