"""What every benchmark shares: repeated runs, medians and their ratio to a ceiling, a table, and a result as JSON.

A target is set for the value of all runs, for its ratio to the ceiling, or for something seen beside it, and from
below or from above.
"""

import os
import platform
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
# What a target names that is set for the ratio to the ceiling.
RATIO = "ratio"
# Columns, more than any table has.
_WIDEST = 1_000
# Before any benchmark pins its process to one of them.
_CORES = len(os.sched_getaffinity(0))


class Sample(msgspec.Struct, frozen=True):
    """The outcome of one run: the value, and what was seen beside it (its name and the figure).

    `parts` are what the value is made of, where all runs' are to be taken together.
    """

    value: float
    seen: dict[str, float] = {}
    parts: Sequence[float] = ()


class Target(msgspec.Struct, frozen=True):
    """What is asked for: `limit` at least, or at most, of the value (`of` is empty), of RATIO, or of something seen."""

    bound: Literal["at least", "at most"]
    limit: float
    of: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """A target with what came out."""

    target: Target
    found: float

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.found >= self.target.limit if self.target.bound == "at least" else self.found <= self.target.limit


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Something to measure. `ceiling` names the subject of the same measurement that it is held against.

    With `of_all` its figure is what that makes of all runs' parts, in place of the median of the runs' values: a quantile
    of all says more than the median of quantiles, of which each is made of a few.
    """

    name: str
    run: Callable[[], Awaitable[Sample]]
    ceiling: str | None = None
    targets: Sequence[Target] = ()
    of_all: Callable[[Sequence[float]], float] | None = None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What came out for one subject: its value (`Subject.of_all`), every run's, and the value's ratio to its ceiling's.

    `seen` are the medians of what was seen beside the values, and `verdicts` are on the value and on those.
    """

    name: str
    value: float
    values: list[float]
    ceiling: str | None
    ratio: float | None
    seen: dict[str, float]
    verdicts: list[Verdict] = []


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured. `cores` are those that this process may use; `memory_gib` is the whole machine's."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole measurement; `short` tells that it was the short form, whose figures prove little."""

    name: str
    what: str
    unit: str
    measured_at: datetime
    short: bool
    settings: dict[str, float]
    machine: Machine
    versions: dict[str, str]
    figures: list[Figure]


async def measure(subjects: Sequence[Subject], runs: int) -> list[Figure]:
    """Run every subject `runs` times, in turns, so that what else the machine does befalls all alike."""
    samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
    for _ in range(runs):
        for subject in subjects:
            samples[subject.name].append(await subject.run())
    values = {subject.name: _value(subject, samples[subject.name]) for subject in subjects}
    return [_figure(subject, samples[subject.name], values) for subject in subjects]


def at_least(limit: float, of: str = "") -> Target:
    """A target that more is better for."""
    return Target("at least", limit, of)


def at_most(limit: float, of: str = "") -> Target:
    """A target that less is better for."""
    return Target("at most", limit, of)


def conclude(
    name: str,
    what: str,
    unit: str,
    figures: Sequence[Figure],
    *,
    short: bool,
    settings: Mapping[str, float],
    packages: Sequence[str],
) -> Result:
    """Print the table and write `bench/results/<name>.json` (`<name>.short.json` for the short form).

    `what` says in a sentence what was measured, `settings` how; `packages` are those whose versions matter.
    """
    result = Result(
        name=name,
        what=what,
        unit=unit,
        measured_at=datetime.now(UTC).replace(microsecond=0),
        short=short,
        settings=dict(settings),
        machine=machine(),
        versions={package: version(package) for package in packages},
        figures=list(figures),
    )
    _print(result)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{'.short' if short else ''}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return result


def machine() -> Machine:
    """This machine, without its name."""
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Machine(
        processor=_processor(),
        cores=_CORES,
        memory_gib=round(gib, 1),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def _value(subject: Subject, samples: Sequence[Sample]) -> float:
    if subject.of_all is None:
        return statistics.median(sample.value for sample in samples)
    return subject.of_all([part for sample in samples for part in sample.parts])


def _figure(subject: Subject, samples: Sequence[Sample], values: Mapping[str, float]) -> Figure:
    value = values[subject.name]
    ratio = None if subject.ceiling is None else value / values[subject.ceiling]
    seen = {name: statistics.median(sample.seen[name] for sample in samples) for name in samples[0].seen}
    found = {"": value, **seen, **({} if ratio is None else {RATIO: ratio})}
    return Figure(
        name=subject.name,
        value=round(value, 3),
        values=[round(sample.value, 3) for sample in samples],
        ceiling=subject.ceiling,
        ratio=None if ratio is None else round(ratio, 3),
        seen={name: round(one, 3) for name, one in seen.items()},
        verdicts=[Verdict(target, round(found[target.of], 3)) for target in subject.targets],
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _print(result: Result) -> None:
    seen = list(dict.fromkeys(name for figure in result.figures for name in figure.seen))
    table = Table(title=result.what, title_justify="left", caption=_caption(result), caption_justify="left")
    table.add_column("measured")
    for heading in (result.unit, "least", "most", "of its ceiling", *seen):
        table.add_column(heading, justify="right")
    table.add_column("target")
    table.add_column("ceiling")
    for figure in result.figures:
        table.add_row(
            figure.name,
            number(figure.value),
            number(min(figure.values)),
            number(max(figure.values)),
            "" if figure.ratio is None else f"{figure.ratio:.0%}",
            *("" if name not in figure.seen else number(figure.seen[name]) for name in seen),
            "\n".join(f"{'met' if one.met else 'MISSED'}: {wish(one.target)}" for one in figure.verdicts),
            figure.ceiling or "",
        )
    # Into a file or a pipe it goes as wide as it is.
    console = Console()
    (console if console.is_terminal else Console(width=_WIDEST)).print(table)


def wish(target: Target) -> str:
    """A target in words."""
    limit = f"{target.limit:.0%} of its ceiling" if target.of == RATIO else number(target.limit)
    what = "" if target.of in ("", RATIO) else f"{target.of} "
    return f"{what}{target.bound} {limit}"


def _caption(result: Result) -> str:
    one = result.machine
    runs = len(result.figures[0].values)
    form = "SHORT FORM, " if result.short else ""
    packages = ", ".join(f"{name} {which}" for name, which in result.versions.items())
    return f"{form}median of {runs} runs; {one.processor}, {one.cores} cores, {one.system}, {one.python}; {packages}"


def number(value: float) -> str:
    """A figure as it is shown to people."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
