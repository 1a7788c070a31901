"""compose.yaml: valid by the Compose Specification, and its parts fit each other and the repository."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import main
from gateway.config import load
from tests.support.gomod import go_module
from tests.unit.deploy.dockerfile import ROOT, stages

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "ringcloud-gateway"}
CONFIG = ROOT / "deploy" / "compose" / "gateway.toml"
# Holds the specification's schema.
_MODULE = "github.com/compose-spec/compose-go/v2@v2.9.0"


def schema() -> dict[str, Any]:
    """The Compose Specification's own JSON Schema."""
    path = go_module(_MODULE) / "schema" / "compose-spec.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_it_is_valid() -> None:
    found = schema()
    assert "draft-07" in found["$schema"]
    judge = jsonschema.Draft7Validator(found)
    judge.validate(COMPOSE)
    assert not judge.is_valid({**COMPOSE, "services": {"a": {"imagee": "x"}}})


def test_the_configuration_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS["gateway"]["environment"].items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["check", str(CONFIG)])
    assert done.exit_code == 0, done.output


def test_every_command_is_one_of_ours() -> None:
    assert "runtime" in stages()
    for name, service in OURS.items():
        command, *words = service["command"]
        known = main.commands[command]
        options = {option for parameter in known.params for option in parameter.opts}
        assert [word for word in words if word.startswith("--") and word not in options] == [], name


def test_names_and_ports_fit() -> None:
    config = load(CONFIG)
    used = {
        config.kafka.bootstrap,
        config.ringcloud.base_url.removeprefix("http://"),
        *(one.url.removeprefix("http://").rstrip("/") for one in config.endpoints),
    }
    assert {one.partition(":")[0] for one in used} <= set(SERVICES)
    for name in ("sandbox", "receiver"):
        command = SERVICES[name]["command"]
        assert f"{name}:{command[command.index('--port') + 1]}" in used
    scraped = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = {one for job in scraped["scrape_configs"] for part in job["static_configs"] for one in part["targets"]}
    assert targets == {f"gateway{config.metrics.gateway}", f"streams{config.metrics.streams}"}
    for service in ("gateway", "streams"):
        assert f"{getattr(config.metrics, service)}/readyz" in SERVICES[service]["healthcheck"]["test"][-1]


def test_what_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


def test_ports_are_open_on_this_machine_alone() -> None:
    assert all(port.startswith("127.0.0.1:") for one in SERVICES.values() for port in one.get("ports", []))


def test_its_kafka_is_the_one_that_is_tested() -> None:
    version = re.search(r"<kafka.version>(.*?)<", (ROOT / "deploy" / "kafka" / "pom.xml").read_text(encoding="utf-8"))
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_our_containers_write_nowhere() -> None:
    assert len(OURS) >= 5
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_grafana_finds_its_source_and_its_dashboards() -> None:
    provisioning = ROOT / "deploy" / "compose" / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((provisioning / "dashboards" / "dashboards.yaml").read_text(encoding="utf-8"))
    inside = provider["providers"][0]["options"]["path"]
    assert any(volume.split(":")[1] == inside for volume in SERVICES["grafana"]["volumes"])
