"""`python -m bench.guard --base REV`: whether hot paths got slower than at another revision, in one run.

Both are measured by the benchmarks of the working tree, in turns and in processes of their own. Compared are ratios to
ceilings that know nothing of the gateway, so that a slower minute of the machine is nobody's fault. Slower is what lost
more than 10 % in the median, and lost in three of four turns.
"""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bench.quick import PATHS, Measured

_ROOT = Path(__file__).resolve().parents[1]
_LOST = 0.9
_TURNS_LOST = 0.75
_TIMEOUT = 300.0


class GuardError(Exception):
    """It could not be compared."""


class Finding(msgspec.Struct, frozen=True):
    """A path's ratio to its ceiling here and at the base (medians), and what comes of it."""

    name: str
    here: float
    base: float
    verdict: Literal["slower", "faster", "the same"]

    @property
    def change(self) -> float:
        """How fast it is to one of the base."""
        return self.here / self.base


def judge(name: str, here: Sequence[float], base: Sequence[float]) -> Finding:
    """Compare the ratios of as many turns; the n-th of both were measured one after the other."""
    ours, theirs = statistics.median(here), statistics.median(base)
    change = ours / theirs
    lost = sum(one < other for one, other in zip(here, base, strict=True)) / len(here)
    if change < _LOST and lost >= _TURNS_LOST:
        return Finding(name, ours, theirs, "slower")
    if change > 1 / _LOST and lost <= 1 - _TURNS_LOST:
        return Finding(name, ours, theirs, "faster")
    return Finding(name, ours, theirs, "the same")


def compare(here: Sequence[Measured], base: Sequence[Measured]) -> tuple[list[Finding], dict[str, str]]:
    """What became of each path, and those that the base has not, or has otherwise, with why.

    Raises GuardError for a path that cannot be measured here.
    """
    for one in here:
        if one.failed:
            name, why = next(iter(one.failed.items()))
            raise GuardError(f"{name} cannot be measured here: {why}")
    apart: dict[str, str] = {}
    for one in base:
        apart |= one.failed
    names = [name for name in PATHS if name not in apart]
    return [judge(name, _of(name, here), _of(name, base)) for name in names], apart


def _of(name: str, turns: Sequence[Measured]) -> list[float]:
    return [one.ratios[name] for one in turns]


def _checked_out(revision: str, folder: Path) -> Path:
    """The product's code of a revision, with the benchmarks of the working tree. Raises GuardError."""
    # An archive, not a worktree: nothing is left in the repository, whatever ends this.
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(_ROOT), "archive", "--format=tar", revision],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise GuardError(f"no such revision: {revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    shutil.rmtree(folder / "bench", ignore_errors=True)
    shutil.copytree(_ROOT / "bench", folder / "bench", ignore=shutil.ignore_patterns("results", "__pycache__"))
    return folder


def _measured(tree: Path) -> Measured:
    done = subprocess.run(
        # The directory it is run in goes before what is installed.
        [sys.executable, "-m", "bench.quick"],
        cwd=tree,
        capture_output=True,
        check=False,
        timeout=_TIMEOUT,
    )
    if done.returncode:
        raise GuardError(f"the benchmarks failed in {tree}:\n{done.stderr.decode()[-2000:]}")
    found = msgspec.json.decode(done.stdout, type=Measured)
    if Path(found.code) != tree.resolve():
        raise GuardError(f"the code of {found.code} was measured, not that of {tree}")
    return found


def _show(findings: Sequence[Finding], apart: Mapping[str, str], base: str, turns: int) -> None:
    table = Table(title=f"Ratios to ceilings, here and at {base}: medians of {turns} turns", title_justify="left")
    table.add_column("path")
    for heading in ("here", "base", "change"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one in findings:
        table.add_row(one.name, f"{one.here:.4f}", f"{one.base:.4f}", f"{one.change - 1:+.1%}", one.verdict)
    for name, why in apart.items():
        table.add_row(name, "", "", "", f"not comparable: {why}")
    console = Console()
    (console if console.is_terminal else Console(width=300)).print(table)


@click.command()
@click.option("--base", required=True, metavar="REV", help="The revision that the working tree is compared to.")
@click.option("--turns", default=7, show_default=True, type=click.IntRange(4, 50))
def main(base: str, turns: int) -> None:
    """Compare the working tree with REV; exit 1 when something got slower by more than 10 %."""
    here: list[Measured] = []
    there: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="bench-guard-") as name:
        try:
            tree = _checked_out(base, Path(name))
            for _ in range(turns):
                here.append(_measured(_ROOT))
                there.append(_measured(tree))
            findings, apart = compare(here, there)
        except GuardError as error:
            raise click.ClickException(str(error)) from None
    _show(findings, apart, base, turns)
    sys.exit(any(one.verdict == "slower" for one in findings))


if __name__ == "__main__":
    main()
