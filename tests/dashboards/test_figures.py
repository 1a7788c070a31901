"""What panels make of figures that are known: internal calls left out of the ratio, missed calls, what is not sure."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards.panels import panels
from tests.support.prometheus import promtool

# As if Grafana showed the last 60 minutes of account 1, a point a minute.
_CHOSEN = {"$__rate_interval": "60m", "$__range": "60m", "$account": "1"}
# Of account 1, calls a minute by direction and disposition.
_ENDED = {
    ("incoming", "ANSWERED"): 3,
    ("incoming", "NO ANSWER"): 2,
    ("incoming", "BUSY"): 1,
    ("outgoing", "ANSWERED"): 2,
    ("outgoing", "FAILED"): 2,
    ("internal", "ANSWERED"): 20,
    ("internal", "NO ANSWER"): 30,
    ("unknown", "unknown"): 5,
    ("incoming", "other"): 0,
}
_MINUTES = 120


def series() -> list[dict[str, str]]:
    """What was scraped. Account 2, which was not chosen, has a lot of everything."""
    found = {
        f'ringcloud_calls_ended_total{{account="1",direction="{direction}",disposition="{disposition}"}}': each
        for (direction, disposition), each in _ENDED.items()
    }
    for name, each in (("unobserved", 4), ("ambiguous", 1), ("absent", 5)):
        found[f'ringcloud_calls_{name}_total{{account="1"}}'] = each
        found[f'ringcloud_calls_{name}_total{{account="2"}}'] = 1000
    found['ringcloud_calls_ended_total{account="2",direction="incoming",disposition="BUSY"}'] = 1000
    # Answered calls of both directions take 30 s each, the internal ones 3 s.
    found['ringcloud_answered_call_seconds_total{account="1",direction="incoming"}'] = 30 * 3
    found['ringcloud_answered_call_seconds_total{account="1",direction="outgoing"}'] = 30 * 2
    found['ringcloud_answered_call_seconds_total{account="1",direction="internal"}'] = 3 * 20
    return [{"series": name, "values": f"0+{each}x{_MINUTES}"} for name, each in found.items()]


def query(title: str, legend: str, kind: str = "timeseries") -> str:
    """A panel's query."""
    (found,) = [
        text
        for panel in panels(_CHOSEN)
        for name, text in panel.queries
        if (panel.dashboard, panel.title, panel.kind, name) == ("calls", title, kind, legend)
    ]
    return found


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # 5 answered of 10 that were not internal and whose disposition is known.
        (query("Answer-seizure ratio", "ASR", "stat"), {"{}": 0.5}),
        (query("Answer-seizure ratio", "ASR, 30 min"), {"{}": 0.5}),
        # Outgoing and internal ones are nobody's that was missed.
        (query("Missed inbound", "missed", "stat"), {"{}": 180}),
        (query("Missed inbound", "{{disposition}}"), {'{disposition="BUSY"}': 60, '{disposition="NO ANSWER"}': 120}),
        (query("What is not known for sure", "never seen live"), {"{}": 240}),
        (query("What is not known for sure", "ambiguous"), {"{}": 60}),
        (query("What is not known for sure", "ended by absence"), {"{}": 300}),
        (
            query("Ended, by direction", "{{direction}}"),
            {
                '{direction="incoming"}': 360,
                '{direction="outgoing"}': 240,
                '{direction="internal"}': 3000,
                '{direction="unknown"}': 300,
            },
        ),
        # (5 calls of 30 s, 20 of 3 s) / 25
        (query("Answered-call duration incl. ringing", "mean of the accounts chosen"), {"{}": 8.4}),
    ],
    ids=lambda one: str(one)[:40],
)
def test_a_panel_shows_what_its_figures_come_to(tmp_path: Path, asked: str, expected: dict[str, float]) -> None:
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": series(),
        "promql_expr_test": [
            {
                # Floats are compared bit by bit.
                "expr": f"round({asked}, 0.000001)",
                "eval_time": f"{_MINUTES}m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
            }
        ],
    }
    # JSON is YAML.
    path = tmp_path / "figures.yaml"
    path.write_text(json.dumps({"tests": [test]}))
    assert "SUCCESS" in promtool("test", "rules", str(path))
