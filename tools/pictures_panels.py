"""The pictures of the dashboards: each panel's queries on a Prometheus that scraped a running demo, plotted as SVG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.dashboards.panels import Panel

# Of each series of a panel its labels and its points: time (epoch s) and value.
Series = tuple[Mapping[str, str], Sequence[tuple[float, float]]]

_GRID = 24
_COLOURS = (
    "#73bf69",
    "#f2cc0c",
    "#5794f2",
    "#ff9830",
    "#f2495c",
    "#b877d9",
    "#8ab8ff",
    "#96d98d",
    "#ffcb7d",
    "#c4162a",
)
_BACK, _PANEL, _TEXT, _LINES = "#111217", "#181b1f", "#ccccdc", "#2c3235"
_UNITS = {"s": "s", "percentunit": "%", "reqps": "/s", "cps": "calls/s", "eps": "/s", "short": ""}
# Lines of a wide panel and of a narrow one: those that reach highest. The legends of more would hide the plot.
_LINES_SHOWN = {True: 6, False: 4}
# Of a legend at this size: inches a character, and of its line.
_CHARACTER, _SAMPLE = 0.045, 0.45
_STYLE: Any = {
    # Text stays text, and the same figures make the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "pictures",
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "path.simplify_threshold": 0.5,
}
# What refers to elsewhere and is not needed (the DTD, and who made it), and what only takes room: fonts that most have
# not, names of groups, turns by nothing.
_NEEDLESS = (
    (re.compile(r"<!DOCTYPE[^>]*>\s*|<metadata>.*?</metadata>\s*", re.DOTALL), ""),
    (re.compile(r' font-family: [^;"]*;'), ""),
    (re.compile(r"\*\{"), "*{font-family: sans-serif; "),
    (re.compile(r'<g id="[^"]*">'), "<g>"),
    (re.compile(r' transform="rotate\(-?0 [^"]*\)"'), ""),
    # A tenth of a pixel is nobody's business.
    (re.compile(r"(\d+\.\d)\d+"), r"\1"),
)


def plotted(title: str, panels: Sequence[Panel], found: Mapping[tuple[str, str], Sequence[Series]]) -> str:
    """A dashboard as SVG. `found` has each query's series, by the panel's title and the query's legend."""
    with mpl.rc_context():
        mpl.rcParams.update(_STYLE)
        rows = sorted({panel.place[1] for panel in panels})
        figure = Figure(figsize=(13, 0.5 + 2.1 * len(rows)), facecolor=_BACK)
        figure.text(0.01, 1 - 0.3 / figure.get_figheight(), title, fontsize=12, fontweight="bold")
        for panel in panels:
            _draw(figure, panel, rows, found)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, facecolor=_BACK)
    text = out.getvalue()
    for what, instead in _NEEDLESS:
        text = what.sub(instead, text)
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


def _draw(figure: Figure, panel: Panel, rows: Sequence[int], found: Mapping[tuple[str, str], Sequence[Series]]) -> None:
    high = figure.get_figheight()
    x, y, w, _ = panel.place
    top = 0.5 + 2.1 * rows.index(y)
    box = (x / _GRID + 0.035, 1 - (top + 1.7) / high, w / _GRID - 0.045, 1.35 / high)
    axes = figure.add_axes(box, facecolor=_PANEL)
    axes.set_title(panel.title, loc="left", fontsize=9, color=_TEXT)
    lines = [
        (_named(legend, labels), points) for legend, _ in panel.queries for labels, points in found[panel.title, legend]
    ]
    # Without what was no number (a share of nothing), and without what never was.
    lines = [(name, [one for one in points if math.isfinite(one[1])]) for name, points in lines]
    lines = [(name, points) for name, points in lines if points]
    if panel.kind == "stat":
        _number(axes, panel, lines[0][1][-1][1])
        return
    begin = min(points[0][0] for _, points in lines)
    highest = sorted(lines, key=lambda one: max(value for _, value in one[1]), reverse=True)
    kept = {name for name, _ in highest[: _LINES_SHOWN[w > 6]]}
    lines = [(name, points) for name, points in lines if name in kept]
    scale = 100 if panel.unit == "percentunit" else 1
    for number, (name, points) in enumerate(lines):
        axes.plot(
            [(at - begin) / 60 for at, _ in points],
            [scale * value for _, value in points],
            color=_COLOURS[number % len(_COLOURS)],
            linewidth=1.2,
            label=name,
        )
    # Room for the legend.
    axes.set_ylim(0, 1.4 * (axes.get_ylim()[1] or 1))
    axes.locator_params(nbins=4)
    axes.grid(color=_LINES, linewidth=0.6)
    axes.tick_params(length=0, labelsize=7)
    axes.set_ylabel(_UNITS[panel.unit], fontsize=7)
    for spine in axes.spines.values():
        spine.set_color(_LINES)
    inches = figure.get_figwidth() * w / _GRID
    columns = int(inches / (_SAMPLE + _CHARACTER * max(map(len, kept))))
    axes.legend(
        loc="upper right",
        ncols=min(max(columns, 1), 3),
        fontsize=6,
        facecolor=_PANEL,
        edgecolor=_LINES,
        labelcolor=_TEXT,
        framealpha=0.8,
    )
    if y == rows[-1]:
        axes.set_xlabel("minutes", fontsize=7)


def _number(axes: Axes, panel: Panel, value: float) -> None:
    text = f"{value:.0%}" if panel.unit == "percentunit" else f"{value:.0f}"
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(_LINES)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=30, color=_COLOURS[0], transform=axes.transAxes)


def _named(legend: str, labels: Mapping[str, str]) -> str:
    """A legend with the labels' values in it, as Grafana writes it."""
    return re.sub(r"{{(\w+)}}", lambda one: labels.get(one[1], ""), legend)
