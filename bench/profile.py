"""`python -m bench.profile NAME`: where the processes of a benchmark's short form spend their time, by py-spy.

Prints, for each process, the functions that the time is spent in, and those that it is spent under. py-spy is no
dependency: it is looked for on the PATH, or where PY_SPY says. What follows `--` goes to the benchmark.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import click

_RATE = 200
_SHOWN = 30
_LEAST = 0.05
_PROCESS = re.compile(r"^process (\d+)")
_LINE = re.compile(r":\d+\)$")


def summed(lines: Iterable[str]) -> dict[str, tuple[int, Counter[str], Counter[str]]]:
    """Of py-spy's raw stacks: each process's samples, how many ended in each function, and how many passed through."""
    total: Counter[str] = Counter()
    own: dict[str, Counter[str]] = defaultdict(Counter)
    under: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        frames = [_LINE.sub(")", frame) for frame in stack.split(";")]
        processes = [frame for frame in frames if _PROCESS.match(frame)]
        functions = [frame for frame in frames if not frame.startswith(("process ", "thread "))]
        name = processes[-1][:120] if processes else "the process"
        if not functions:
            continue
        total[name] += int(count)
        own[name][functions[-1]] += int(count)
        for function in set(functions):
            under[name][function] += int(count)
    return {name: (count, own[name], under[name]) for name, count in total.most_common()}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
def main(name: str, more: tuple[str, ...]) -> None:
    """Profile the short form of the benchmark NAME; MORE goes to it."""
    spy = os.environ.get("PY_SPY") or shutil.which("py-spy")
    if spy is None:
        raise click.ClickException("py-spy is neither on the PATH nor in PY_SPY")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        raw = Path(folder) / "stacks"
        command = [spy, "record", "--subprocesses", "--rate", str(_RATE), "--format", "raw", "--output", str(raw)]
        command += ["--", sys.executable, "-m", f"bench.{name}", "--short", *more]
        subprocess.run(command, check=True)  # noqa: S603
        found = summed(raw.read_text(encoding="utf-8").splitlines())
    whole = sum(count for count, _, _ in found.values())
    for process, (count, own, under) in found.items():
        if count < _LEAST * whole:
            continue
        print(f"\n{process}: {count} samples")
        for words, functions in (("in", own), ("under", under)):
            print(f"  {words}:")
            for function, samples in functions.most_common(_SHOWN):
                print(f"  {samples / count:7.1%}  {function}")


if __name__ == "__main__":
    main()
