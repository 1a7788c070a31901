"""What is served beside the metrics, in which form, and what it says of a loop that hangs."""

import asyncio
import http.client
import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from gateway.dev.brokers import free_port
from gateway.runtime.health import LOOP_SECONDS, Brokers, Finding, Health
from gateway.runtime.metrics import READY, MetricsError, serve_metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def ask(listen: str, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], str]:
    """Ask the server; blocks the loop, which the server does without."""
    host, _, port = listen.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


async def test_metrics_come_in_the_form_that_is_asked_for() -> None:
    registry, listen = CollectorRegistry(), f"127.0.0.1:{free_port()}"
    Counter("things", "Things", registry=registry).inc(exemplar={"call_id": "X"})
    async with serve_metrics(listen, Health(), registry):
        status, headers, text = ask(listen, "/metrics")
        assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
        assert {family.name for family in plain_families(text)} == {"things", READY}
        status, headers, text = ask(listen, "/metrics", Accept=OPENMETRICS)
        assert headers["Content-Type"].startswith("application/openmetrics-text")
        (things,) = [family for family in text_string_to_metric_families(text) if family.name == "things"]
        assert [(one.name, one.exemplar.labels) for one in things.samples] == [("things_total", {"call_id": "X"})]  # type: ignore[union-attr]
    async with serve_metrics(listen, Health(), registry):
        assert ask(listen, "/metrics")[0] == 200


async def test_readiness_is_every_checks_and_says_why_not() -> None:
    registry, listen = CollectorRegistry(), f"127.0.0.1:{free_port()}"
    health = Health("shards", "kafka")
    async with serve_metrics(listen, health, registry):
        assert _probe(listen, "/readyz") == (503, {"shards": False, "kafka": False, "loop": True})
        assert _probe(listen, "/livez") == (200, {"loop": True})
        health.give("shards", lambda: Finding(True, "standby: others own all shards"))
        health.give("kafka", lambda: Finding(True, "the brokers answer"))
        assert _probe(listen, "/readyz")[0] == 200
        assert f"{READY} 1.0" in ask(listen, "/metrics")[2]
        health.give("kafka", lambda: Finding(False, "no answer for 12.0 s"))
        status, _, body = ask(listen, "/readyz")
        assert status == 503
        assert json.loads(body) == {
            "ready": False,
            "checks": {
                "shards": {"ok": True, "says": "standby: others own all shards"},
                "kafka": {"ok": False, "says": "no answer for 12.0 s"},
                "loop": {"ok": True, "says": "starting"},
            },
        }
        assert f"{READY} 0.0" in ask(listen, "/metrics")[2]
        assert ask(listen, "/else")[0] == 404
        assert ask(listen, "/livez", "POST")[0] == 405


async def test_a_loop_that_hangs_is_told_of_while_it_does() -> None:
    listen, now = f"127.0.0.1:{free_port()}", [100.0]
    health = Health(clock=lambda: now[0])
    async with serve_metrics(listen, health, CollectorRegistry()):
        beating = asyncio.create_task(health.run())
        await asyncio.sleep(0)
        # From here to the next await the loop does not turn, and the server answers all the same.
        assert _probe(listen, "/livez")[0] == 200
        now[0] += LOOP_SECONDS + 1
        assert _probe(listen, "/livez") == (503, {"loop": False})
        assert "last turned 16.0 s ago" in ask(listen, "/livez")[2]
        assert _probe(listen, "/readyz")[0] == 503
        beating.cancel()
        await asyncio.wait([beating])
        # One that stops lives until it is gone, and takes no more work.
        assert _probe(listen, "/livez")[0] == 200
        status, checks = _probe(listen, "/readyz")
        assert (status, checks) == (503, {"loop": False})


def test_a_check_must_be_announced() -> None:
    with pytest.raises(KeyError):
        Health("kafka").give("kafak", lambda: Finding(True, ""))


async def test_brokers_that_never_answered_are_away() -> None:
    brokers = Brokers({"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    assert not brokers.finding().ok


async def test_an_address_that_is_taken_is_named() -> None:
    listen = f"127.0.0.1:{free_port()}"
    async with serve_metrics(listen, Health(), CollectorRegistry()):
        with pytest.raises(MetricsError, match=listen):
            async with serve_metrics(listen, Health(), CollectorRegistry()):
                pass


def _probe(listen: str, path: str) -> tuple[int, Any]:
    status, _, body = ask(listen, path)
    return status, {name: one["ok"] for name, one in json.loads(body)["checks"].items()}
