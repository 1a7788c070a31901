"""The dashboards are what Grafana reads: by the models that Grafana publishes, and by the rules of its grid."""

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard, DataSourceRef, Panel
from grafana_foundation_sdk.models.prometheus import Dataquery

from tests.dashboards.panels import DASHBOARDS, ROOT

# Options and queries of each kind of panel are read by its plugin's models, too.
register_default_plugins()

NAMES = [path.stem for path in DASHBOARDS]


@pytest.fixture(params=DASHBOARDS, ids=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture
def raw(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def not_known(raw: dict[str, Any]) -> list[str]:
    """Where a dashboard has fields or values that get lost when Grafana's models read it and write it again."""
    again = json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(raw)), cls=JSONEncoder))
    return list(_lost(raw, again))


def _lost(before: Any, after: Any, at: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name in after:
                yield from _lost(value, after[name], f"{at}.{name}")
            else:
                yield f"{at}.{name}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _lost(one, other, f"{at}[{number}]")
    elif before != after:
        yield at


def test_grafanas_own_models_know_every_field(raw: dict[str, Any]) -> None:
    assert not_known(raw) == []


@pytest.mark.parametrize(
    ("where", "break_it"),
    [
        (".refersh", lambda raw: raw.update(refersh="30s")),
        (".panels[1].tpye", lambda raw: raw["panels"][1].update(tpye="stat")),
        (".panels[1].options.legned", lambda raw: raw["panels"][1]["options"].update(legned=True)),
        (".panels[1].targets[0].exper", lambda raw: raw["panels"][1]["targets"][0].update(exper="up")),
        (
            ".panels[1].fieldConfig.defaults.unti",
            lambda raw: raw["panels"][1]["fieldConfig"]["defaults"].update(unti="s"),
        ),
        (".templating.list[0].queyr", lambda raw: raw["templating"]["list"][0].update(queyr="up")),
    ],
)
def test_they_would_not_know_a_misspelt_one(
    raw: dict[str, Any], where: str, break_it: Callable[[dict[str, Any]], None]
) -> None:
    break_it(raw)
    assert not_known(raw) == [where]


def test_data_source_and_account_are_chosen_and_heeded(raw: dict[str, Any]) -> None:
    dashboard = Dashboard.from_json(raw)
    assert dashboard.templating.list_val is not None
    variables = {one.name: one for one in dashboard.templating.list_val}
    assert set(variables) == {"datasource", "account"}
    assert variables["account"].include_all
    assert variables["account"].multi
    for panel in _panels(raw):
        assert _source(panel.datasource) == "${datasource}", panel.title
        for target in _queries(panel):
            assert _source(target.datasource) == "${datasource}", panel.title


def test_each_query_of_what_is_counted_by_account_heeds_the_choice(raw: dict[str, Any]) -> None:
    by_account = _by_account()
    assert "ringcloud_active_calls" in by_account
    assert "ringcloud_calls_ended_total" in by_account
    for panel in _panels(raw):
        for target in _queries(panel):
            for name, selector in re.findall(r"(ringcloud_\w+)(\{[^}]*\})?", target.expr):
                assert name not in by_account or 'account=~"$account"' in selector, (panel.title, target.expr)


def test_panels_have_numbers_of_their_own_and_do_not_overlap(raw: dict[str, Any]) -> None:
    panels = [Panel.from_json(one) for one in raw["panels"]]
    assert len({one.id_val for one in panels}) == len(panels)
    places = [one.grid_pos for one in panels]
    for one in places:
        assert one is not None
        assert 0 <= one.x <= one.x + one.w <= 24
    for one, other in itertools.combinations(places, 2):
        assert one is not None
        assert other is not None
        beside = one.x + one.w <= other.x or other.x + other.w <= one.x
        above = one.y + one.h <= other.y or other.y + other.h <= one.y
        assert beside or above, (one, other)


@pytest.mark.parametrize("word", ["acd", "talk time", "post-dial", "pdd"])
def test_nothing_is_claimed_that_ringcloud_does_not_tell(raw: dict[str, Any], word: str) -> None:
    shown = [(panel.title or "").lower() for panel in _panels(raw)]
    shown += [(target.legend_format or "").lower() for panel in _panels(raw) for target in _queries(panel)]
    assert [one for one in shown if re.search(rf"\b{word}\b", one)] == []


def test_every_duration_of_calls_says_what_it_includes(raw: dict[str, Any]) -> None:
    for panel in _panels(raw):
        if any("ringcloud_answered_call" in target.expr for target in _queries(panel)):
            assert panel.title == "Answered-call duration incl. ringing"


def _panels(raw: dict[str, Any]) -> list[Panel]:
    return [Panel.from_json(one) for one in raw["panels"] if one["type"] != "row"]


def _queries(panel: Panel) -> list[Dataquery]:
    assert panel.targets, panel.title
    found = [one for one in panel.targets if isinstance(one, Dataquery)]
    assert len(found) == len(panel.targets), panel.title
    return found


def _source(reference: DataSourceRef | str | None) -> str | None:
    assert isinstance(reference, DataSourceRef)
    return reference.uid


def _by_account() -> set[str]:
    """The metrics that have an account as label, as documented."""
    rows = re.findall(r"^\| `(ringcloud_\w+)` \| ([^|]*) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    return {name for name, labels in rows if "account" in labels.split(", ")}
