"""`python -m bench.differ`: how many readings of a big account's lists are decoded and diffed a second, on one core.

Targets: 10,000 active calls of which 1 % changed in 20 ms, decode and diff together; 100,000 rows of completed calls, of
which 20 are new, in 150 ms. Beside them: what a remembered call takes of memory, and of the kept state.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click

from bench.harness import Sample, Subject, conclude, measure
from gateway.calls.differ import Rules, Window, first_state, read_active, read_completed
from gateway.calls.state import encode
from gateway.ringcloud.rows import decode_active, decode_completed

BEGIN = 1_700_000_000_000
ZONE = ZoneInfo("Europe/Moscow")
RULES = Rules(account=1)
ACTIVE = 10_000
CHANGED = 100  # calls that end, and as many that begin
COMPLETED = 100_000
NEW = 20
ACTIVE_TARGET, COMPLETED_TARGET = 1000 / 20, 1000 / 150  # readings a second


def body(rows: Sequence[dict[str, object]]) -> bytes:
    """A success with these rows."""
    return json.dumps({"status": "success", "message": None, "data": rows}).encode()


def active_body(first: int, count: int, now: int, numbers: Callable[[int], tuple[str, str]]) -> bytes:
    """The active list at `now`: `count` calls that began within twenty minutes, one after another, from the n-th on."""
    rows = []
    for n in range(first, first + count):
        src, dst = numbers(n)
        begun = BEGIN - 1_200_000 + n * 1_190_000 // count
        rows.append({"src": src, "dst": dst, "seconds": (now - begun) // 1000, "status": "answered"})
    return body(rows)


def unique(n: int) -> tuple[str, str]:
    """Numbers that no other call has."""
    return f"7495{n:07}", "74951234567"


def alike(_: int) -> tuple[str, str]:
    """The numbers of all calls."""
    return "anonymous", "74951234567"


def completed_body(count: int) -> bytes:
    """A day of completed calls, the oldest first."""
    rows: list[dict[str, object]] = []
    for n in range(count):
        start = BEGIN / 1000 - 86_400 + n * 86_000 / count
        src, dst = unique(n % 5_000)
        rows.append(
            {
                "status": "complete",
                "src": src,
                "dst": dst,
                "direction": "incoming",
                "call_start_time": wall(start),
                "call_end_time": wall(start + 60 + n % 120),
                "duration": 60 + n % 120,
                "disposition": "ANSWERED",
                "rec_file": f"/records/1/{n}.wav",
            }
        )
    return body(rows)


def wall(second: float) -> str:
    """As RingCloud writes a time."""
    return datetime.fromtimestamp(int(second), UTC).astimezone(ZONE).strftime("%Y-%m-%d %H:%M:%S")


def timed(work: Callable[[], object]) -> float:
    """How long that takes, in ms."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def sample(decode: float, diff: float, **seen: float) -> Sample:
    """Readings a second, of the milliseconds that each half took."""
    return Sample(1000 / (decode + diff), {"decode ms": decode, "diff ms": diff, **seen})


def active(count: int, numbers: Callable[[int], tuple[str, str]], target: float | None = None) -> Subject:
    """One reading after another of which 1 % changed."""
    changed = count * CHANGED // ACTIVE
    before, after = (active_body(first, count, BEGIN + at, numbers) for first, at in ((0, 0), (changed, 5_000)))
    state = first_state(RULES, Window(BEGIN - 60_000, BEGIN - 60_000))
    state = read_active(RULES, state, [], Window(BEGIN - 5_000, BEGIN - 4_950)).state
    tracemalloc.start()
    state = read_active(RULES, state, decode_active(before), Window(BEGIN, BEGIN + 50)).state
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    kept = sum(len(encode(call) or b"") for call in state.calls.values())
    window = Window(BEGIN + 5_000, BEGIN + 5_050)

    async def run() -> Sample:
        decode = timed(lambda: decode_active(after))
        rows = decode_active(after)
        diff = timed(lambda: read_active(RULES, state, rows, window))
        return sample(decode, diff, **{"memory B/call": taken / count, "kept B/call": kept / count})

    what = "all of the same numbers" if numbers is alike else "each of its own numbers"
    return Subject(name=f"{count:,} active calls, {what}, 1 % changed", run=run, target=target)


def completed(count: int, target: float | None = None) -> Subject:
    """The same history again, with a few rows that are new."""
    whole = completed_body(count)
    rows = decode_completed(whole, ZONE)
    window = Window(BEGIN, BEGIN + 50)
    history = read_completed(RULES, first_state(RULES, window), rows[:-NEW], window)
    kept = sum(len(encode(part) or b"") for name, part in history.parts.items() if name.startswith("done/"))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    known = {
        hour: {node: bytes(bytearray(raw)) for node, raw in one.items()} for hour, one in history.state.done.items()
    }
    listed = history.state.listed[:]
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert known == history.state.done
    assert len(listed) == count - NEW
    later = Window(BEGIN + 5_000, BEGIN + 5_050)

    async def run() -> Sample:
        decode = timed(lambda: decode_completed(whole, ZONE))
        diff = timed(lambda: read_completed(RULES, history.state, rows, later))
        return sample(decode, diff, **{"memory B/call": taken / count, "kept B/call": kept / count})

    return Subject(name=f"{count:,} completed calls, {NEW} of them new", run=run, target=target)


def subjects(*, short: bool) -> list[Subject]:
    """All that is measured; the long lists only in the long form."""
    few = [
        active(ACTIVE, unique, ACTIVE_TARGET),
        active(ACTIVE // 10, alike),
        completed(COMPLETED, COMPLETED_TARGET),
    ]
    return few if short else [*few, active(10 * ACTIVE, unique), active(ACTIVE, alike), completed(COMPLETED // 10)]


@click.command()
@click.option("--short", is_flag=True, help="Three runs of the smaller lists: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure the differ, and write bench/results/differ.json."""
    runs = 3 if short else 15
    measured = subjects(short=short)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = asyncio.run(measure(measured, runs))
    conclude(
        "differ",
        "Readings of a list that are decoded and diffed a second, in one process on one core",
        "readings/s",
        figures,
        short=short,
        settings={"runs": runs, "changed of active calls, %": 100 * CHANGED / ACTIVE, "new rows": NEW},
        packages=("msgspec",),
    )


if __name__ == "__main__":
    main()
