"""The panels of the dashboards, and their queries as Grafana would send them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))


@dataclass(frozen=True)
class Panel:
    """A panel: its dashboard's name, what it is, where it stands (x, y, w, h of a grid 24 wide), and its queries."""

    dashboard: str
    title: str
    kind: str
    unit: str
    place: tuple[int, int, int, int]
    # Each query's legend, as it is written, and the query.
    queries: tuple[tuple[str, str], ...]


def panels(variables: Mapping[str, str]) -> Iterator[Panel]:
    """Every panel of every dashboard, rows' titles left out; in queries each variable's value stands for it."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] == "row":
                continue
            queries = []
            for target in panel["targets"]:
                query = target["expr"]
                for name, value in variables.items():
                    query = query.replace(name, value)
                assert "$" not in query, query
                queries.append((target["legendFormat"], query))
            place = panel["gridPos"]
            yield Panel(
                dashboard=path.stem,
                title=panel["title"],
                kind=panel["type"],
                unit=panel["fieldConfig"]["defaults"]["unit"],
                place=(place["x"], place["y"], place["w"], place["h"]),
                queries=tuple(queries),
            )
