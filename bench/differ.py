"""`python -m bench.differ`: how many readings of a big account's lists are decoded and diffed a second, on one core.

Targets: 10,000 active calls of which 1 % changed in 20 ms, decode and diff together; time that grows as the rows do, up
to 100,000; an active call in 1 KiB of memory, a completed one that is remembered in 100 bytes. The ceiling is msgspec
reading the same bytes into the same fields, with nothing checked and nothing compared.
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
import msgspec

from bench.harness import RATIO, Sample, Subject, Target, at_most, conclude, measure
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
# Of one reading, in ms; bytes of a call in memory; how much more a row may cost in a list ten times as long.
TOGETHER = "ms"
MEMORY = "memory B/call"
ACTIVE_TARGETS = (at_most(20, TOGETHER), at_most(1024, MEMORY))
COMPLETED_TARGETS = (at_most(150, TOGETHER), at_most(100, MEMORY))
LINEAR = at_most(1.25, RATIO)


class PlainRow(msgspec.Struct):
    """The fields of a row, as they come."""

    src: str
    dst: str
    seconds: int = 0
    status: str = ""
    direction: str = ""
    call_start_time: str = ""
    call_end_time: str = ""
    duration: int = 0
    disposition: str = ""
    rec_file: str = ""


class PlainBody(msgspec.Struct):
    """An answer with such rows."""

    data: list[PlainRow]


plain = msgspec.json.Decoder(PlainBody).decode


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
    return Sample(1000 / (decode + diff), {TOGETHER: decode + diff, "decode ms": decode, "diff ms": diff, **seen})


class Lists:
    """The lists that are measured, what each row of them cost, and the ceilings that go with them."""

    def __init__(self) -> None:
        self.subjects: list[Subject] = []
        self.ceilings: list[Subject] = []
        self._rows: dict[str, tuple[int, list[float]]] = {}

    def active(self, count: int, numbers: Callable[[int], tuple[str, str]], targets: Sequence[Target] = ()) -> None:
        """One reading after another of which 1 % changed."""
        what = "all of the same numbers" if numbers is alike else "each of its own numbers"
        name = f"{count:,} active calls, {what}, 1 % changed"
        read, body = reading_active(count, numbers)
        self._add(name, count, read, self._ceiling("active", count, body), targets)

    def completed(self, count: int, targets: Sequence[Target] = ()) -> None:
        """The same history again, with a few rows that are new."""
        read, body = reading_completed(count)
        name = f"{count:,} completed calls, {NEW} of them new"
        self._add(name, count, read, self._ceiling("completed", count, body), targets)

    def a_row(self, name: str, ceiling: str | None = None) -> Subject:
        """What a row cost, in µs, in each of the runs of a list that has been measured, one after another."""
        count, runs = self._rows[name]

        async def run() -> Sample:
            return Sample(1000 * runs.pop() / count)

        return Subject(name=name, run=run, ceiling=ceiling, targets=() if ceiling is None else (LINEAR,))

    def named(self, of: str) -> list[str]:
        """The measured lists of this kind (`active calls, each of its own`, `completed`), the shortest first."""
        return sorted((name for name in self._rows if of in name), key=lambda name: self._rows[name][0])

    def _add(self, name: str, count: int, read: Callable[[], Sample], ceiling: str, targets: Sequence[Target]) -> None:
        _, runs = self._rows.setdefault(name, (count, []))

        async def run() -> Sample:
            found = read()
            runs.append(found.seen[TOGETHER])
            return found

        self.subjects.append(Subject(name=name, run=run, ceiling=ceiling, targets=targets))

    def _ceiling(self, kind: str, count: int, whole: bytes) -> str:
        name = f"{count:,} {kind} rows, read by msgspec and no more"
        if all(one.name != name for one in self.ceilings):

            async def run() -> Sample:
                took = timed(lambda: plain(whole))
                return Sample(1000 / took, {TOGETHER: took})

            self.ceilings.append(Subject(name=name, run=run))
        return name


def reading_active(count: int, numbers: Callable[[int], tuple[str, str]]) -> tuple[Callable[[], Sample], bytes]:
    """A reading of which 1 % changed, and the bytes that it reads."""
    changed = count * CHANGED // ACTIVE
    before, after = (active_body(first, count, BEGIN + at, numbers) for first, at in ((0, 0), (changed, 5_000)))
    state = first_state(RULES, Window(BEGIN - 60_000, BEGIN - 60_000))
    state = read_active(RULES, state, [], Window(BEGIN - 5_000, BEGIN - 4_950)).state
    if count <= ACTIVE:
        tracemalloc.start()
    state = read_active(RULES, state, decode_active(before), Window(BEGIN, BEGIN + 50)).state
    seen = {"kept B/call": sum(len(encode(call) or b"") for call in state.calls.values()) / count}
    if count <= ACTIVE:
        # Eight times as slow while it is watched: not for the longest.
        seen[MEMORY] = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
    window = Window(BEGIN + 5_000, BEGIN + 5_050)

    def read() -> Sample:
        decode = timed(lambda: decode_active(after))
        rows = decode_active(after)
        diff = timed(lambda: read_active(RULES, state, rows, window))
        return sample(decode, diff, **seen)

    return read, after


def reading_completed(count: int) -> tuple[Callable[[], Sample], bytes]:
    """A reading of a history that is known but for a few rows, and the bytes that it reads."""
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

    def read() -> Sample:
        decode = timed(lambda: decode_completed(whole, ZONE))
        diff = timed(lambda: read_completed(RULES, history.state, rows, later))
        return sample(decode, diff, **{MEMORY: taken / count, "kept B/call": kept / count})

    return read, whole


def lists(*, short: bool) -> Lists:
    """All that is measured; lists of nothing but twins only in the long form."""
    made = Lists()
    made.active(ACTIVE // 10, unique)
    made.active(ACTIVE, unique, ACTIVE_TARGETS)
    made.active(10 * ACTIVE, unique)
    made.completed(COMPLETED // 10, COMPLETED_TARGETS[1:])
    made.completed(COMPLETED, COMPLETED_TARGETS)
    made.active(ACTIVE // 10, alike)
    if not short:
        made.active(ACTIVE, alike)
    return made


async def _bench(runs: int, *, short: bool) -> None:
    made = lists(short=short)
    settings = {"runs": runs, "changed of active calls, %": 100 * CHANGED / ACTIVE, "new rows": NEW}
    figures = await measure([*made.subjects, *made.ceilings], runs)
    conclude(
        "differ",
        "Readings of a list that are decoded and diffed a second, in one process on one core",
        "readings/s",
        figures,
        short=short,
        settings=settings,
        packages=("msgspec",),
    )
    rows: list[Subject] = []
    for kind in ("active calls, each of its own", "completed"):
        shortest, *longer = made.named(kind)
        rows += [made.a_row(shortest), *(made.a_row(name, shortest) for name in longer)]
    conclude(
        "differ-rows",
        "What a row costs, decode and diff together, as the list grows",
        "µs a row",
        await measure(rows, runs),
        short=short,
        settings=settings,
        packages=("msgspec",),
    )


@click.command()
@click.option("--short", is_flag=True, help="Three runs, fewer lists: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure the differ, and write bench/results/differ.json and differ-rows.json."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    asyncio.run(_bench(3 if short else 15, short=short))


if __name__ == "__main__":
    main()
