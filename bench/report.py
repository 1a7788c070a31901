"""`python -m bench.report`: makes docs/performance.md, and a plot for each measurement, of bench/results/*.json.

What a person has to say to a result (why it is short of its target) stands in bench/results/<name>.md and is taken over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure as Canvas

from bench.harness import RATIO, RESULTS, Figure, Result, Verdict, number, wish

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_HEAD = """# Performance

Made by `make bench-report` from `bench/results/`; the commands below measure it anew. Every figure is the median of
several runs, or the quantile of all of them together, taken in turns with those it is compared to, and is held against a
ceiling of the same machine that was measured in the same run: how much of that is reached holds elsewhere, too; seconds
don't. The processes under test have a core to themselves; what they talk to (broker, sandbox, receiver) shares another. The
broker is a real Apache Kafka; to tell it when to collect its garbage takes Java's development kit.
"""
# The order of the claims, each result's title, and which command makes it.
_KNOWN = {
    "webhooks": ("Delivery", "webhooks"),
    "webhooks-latency": ("Delivery, from the event to the webhook", "webhooks"),
    "webhooks-isolation": ("Delivery beside a bad endpoint", "webhooks"),
    "trip": ("The whole trip", "trip"),
    "polling": ("Polling", "polling"),
    "polling-cost": ("Polling, what it costs", "polling"),
    "commits": ("Polling, group commit", "polling"),
    "differ": ("Differ", "differ"),
    "differ-rows": ("Differ, as lists grow", "differ"),
    "fanout": ("Fan-out", "fanout"),
    "recovery": ("Recovery", "recovery"),
    "scale": ("Scale", "scale"),
    "commands": ("Commands", "commands"),
    "sandbox": ("The sandbox, and the client", "sandbox"),
}
_CHAOS = {"chaos", "commands-chaos", "drain"}
# Beyond this, one axis shows the small ones only where it is logarithmic.
_WIDE = 30


def report(results: Iterable[Result], words: dict[str, str]) -> str:
    """The document: all claims in one table, then each result with its figures. `words` are people's, by result."""
    ordered = sorted(results, key=lambda one: (_place(one.name), one.name))
    lines = [
        _HEAD,
        "## All claims",
        "",
        "| claim | target | measured | | ceiling | of it |",
        "|---|---|---|---|---|---|",
    ]
    for result in ordered:
        for figure in result.figures:
            lines += [_claim(result, figure, verdict) for verdict in figure.verdicts]
    for result in ordered:
        lines += ["", *_section(result, words.get(result.name))]
    return "\n".join(lines) + "\n"


def _place(name: str) -> int:
    return list(_KNOWN).index(name) if name in _KNOWN else len(_KNOWN)


def _titled(name: str) -> tuple[str, str]:
    return _KNOWN.get(name, (name, name))


def _claim(result: Result, figure: Figure, verdict: Verdict) -> str:
    of = verdict.target.of
    if of == RATIO:
        measured = f"{verdict.found:.0%}"
    else:
        measured = f"{number(verdict.found)} {result.unit}" if of == "" else number(verdict.found)
    return _row(
        [
            f"{_titled(result.name)[0]}: {figure.name}",
            wish(verdict.target),
            measured,
            "met" if verdict.met else "**missed**",
            figure.ceiling or "",
            "" if figure.ratio is None else f"{figure.ratio:.0%}",
        ]
    )


def _section(result: Result, words: str | None) -> list[str]:
    title, command = _titled(result.name)
    seen = list(dict.fromkeys(name for figure in result.figures for name in figure.seen))
    heads = ["measured", result.unit, "least", "most", "of its ceiling", *seen]
    lines = [f"## {title}", "", f"{result.what}.", "", _row(heads), _row(["---"] * len(heads))]
    lines += [_row(_cells(figure, seen)) for figure in result.figures]
    lines += ["", f"![{title}](performance/{result.name}.svg)", ""]
    if words:
        lines += [words.strip(), ""]
    machine = result.machine
    said = ", ".join(f"{name} {which}" for name, which in result.versions.items())
    settings = ", ".join(f"{name} {number(value)}" for name, value in result.settings.items())
    form = " The short form, which proves little." if result.short else ""
    lines.append(
        f"`python -m bench.{command}`, {result.measured_at:%Y-%m-%d}.{form} {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_gib:g} GiB, {machine.system}, {machine.python}; {said}. Settings: {settings}."
    )
    return lines


def _cells(figure: Figure, seen: Sequence[str]) -> list[str]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.0%} of {figure.ceiling}"
    besides = ["" if name not in figure.seen else number(figure.seen[name]) for name in seen]
    return [figure.name, number(figure.value), number(min(figure.values)), number(max(figure.values)), ratio, *besides]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def plot(result: Result, path: Path) -> None:
    """A bar for each figure's value, with its least and its most, and a line where a target on it lies; as SVG."""
    # Text stays text, and the same figures make the same bytes.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.family": "sans-serif"})
    figures = list(reversed(result.figures))
    canvas = Canvas(figsize=(10, 0.8 + 0.45 * len(figures)), layout="constrained")
    axes = canvas.subplots()
    values = [figure.value for figure in figures]
    # What is made of all runs together may lie beyond each of theirs.
    below = [max(figure.value - min(figure.values), 0) for figure in figures]
    above = [max(max(figure.values) - figure.value, 0) for figure in figures]
    axes.barh(range(len(figures)), values, xerr=(below, above), color="#4878a8", ecolor="#222222", capsize=3)
    axes.set_yticks(range(len(figures)), [figure.name for figure in figures])
    for place, figure in enumerate(figures):
        for verdict in figure.verdicts:
            if verdict.target.of == "":
                colour = "#2a7f3f" if verdict.met else "#b03030"
                axes.plot([verdict.target.limit] * 2, [place - 0.45, place + 0.45], color=colour, linewidth=2)
    if min(values) > 0 and max(values) > _WIDE * min(values):
        axes.set_xscale("log")
    axes.set_xlabel(result.unit)
    canvas.savefig(path, format="svg", metadata={"Date": None})


def read(folder: Path) -> tuple[list[Result], dict[str, str]]:
    """The results of the long forms in a folder, and people's words to them.

    What chaos left there is no measurement.
    """
    results = [
        msgspec.json.decode(path.read_bytes(), type=Result)
        for path in sorted(folder.glob("*.json"))
        if not path.name.endswith(".short.json") and path.stem not in _CHAOS
    ]
    return results, {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}


def make(results: Path, docs: Path) -> Path:
    """Write the document and its plots into `docs`; what is there of former plots goes. Returns the document."""
    found, words = read(results)
    plots = docs / "performance"
    plots.mkdir(parents=True, exist_ok=True)
    for old in plots.glob("*.svg"):
        old.unlink()
    for result in found:
        plot(result, plots / f"{result.name}.svg")
    path = docs / "performance.md"
    path.write_text(report(found, words), encoding="utf-8")
    return path


@click.command()
def main() -> None:
    """Write docs/performance.md and docs/performance/*.svg."""
    print(make(RESULTS, _DOCS))


if __name__ == "__main__":
    main()
