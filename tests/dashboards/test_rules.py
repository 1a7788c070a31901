"""Alerts and recording rules: readable to Prometheus, right on series that are given, and each with its way out."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.support.prometheus import promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"


def test_the_rules_are_right() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


def test_they_warn_when_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(ROOT / "deploy" / "prometheus" / "tests" / "alerts.yaml"))


def test_each_alert_is_seen_to_warn_and_not_to_warn() -> None:
    cases = yaml.safe_load((ROOT / "deploy" / "prometheus" / "tests" / "alerts.yaml").read_text())["tests"]
    checks = [check for case in cases for check in case.get("alert_rule_test", ())]
    warned = {check["alertname"] for check in checks if check.get("exp_alerts")}
    silent = {check["alertname"] for check in checks if not check.get("exp_alerts")}
    alerts = {rule["alert"] for group in _groups() for rule in group["rules"] if "alert" in rule}
    assert warned == silent == alerts


def test_each_alert_has_its_section_in_the_runbook() -> None:
    sections = {
        f"#{title.lower()}" for title in re.findall(r"^## (.+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    }
    linked = {
        rule["annotations"]["runbook_url"].removeprefix("docs/runbook.md")
        for group in _groups()
        for rule in group["rules"]
        if "alert" in rule
    }
    assert linked == sections


def _groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return found
