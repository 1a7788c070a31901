"""Decode and diff of one big account: 10,000 active calls of which 1 % change, and 100,000 rows of completed history.

    python -m bench.differ [--runs N]

Prints medians in milliseconds, and what a remembered call takes of memory and of its kept record.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from gateway.calls.differ import Rules, Window, first_state, read_active, read_completed
from gateway.calls.state import encode
from gateway.ringcloud.rows import ActiveRow, CompletedRow, decode_active, decode_completed

BEGIN = 1_700_000_000_000
ZONE = ZoneInfo("Europe/Moscow")
RULES = Rules(account=1)
ACTIVE = 10_000
CHANGED = 100  # calls that end, and as many that begin
COMPLETED = 100_000


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


def median(runs: int, work: Callable[[], object]) -> float:
    """Milliseconds."""
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def active(runs: int, count: int, numbers: Callable[[int], tuple[str, str]]) -> None:
    """One reading after another of which 1 % changed."""
    changed = count * CHANGED // ACTIVE
    before, after = (active_body(first, count, BEGIN + at, numbers) for first, at in ((0, 0), (changed, 5_000)))
    rows: list[ActiveRow] = decode_active(before)
    state = first_state(RULES, Window(BEGIN - 60_000, BEGIN - 60_000))
    state = read_active(RULES, state, [], Window(BEGIN - 5_000, BEGIN - 4_950)).state
    state = read_active(RULES, state, rows, Window(BEGIN, BEGIN + 50)).state
    decode = median(runs, lambda: decode_active(after))
    rows = decode_active(after)
    window = Window(BEGIN + 5_000, BEGIN + 5_050)
    diff = median(runs, lambda: read_active(RULES, state, rows, window))
    found = read_active(RULES, state, rows, window)
    what = "alike" if numbers is alike else "distinct"
    print(f"active {count} {what}: decode {decode:.1f} ms, diff {diff:.1f} ms, {len(found.events)} events")


def completed(runs: int, count: int) -> None:
    """The same history again, and with 20 rows that are new."""
    whole = completed_body(count)
    decode = median(runs, lambda: decode_completed(whole, ZONE))
    rows: list[CompletedRow] = decode_completed(whole, ZONE)
    state = first_state(RULES, Window(BEGIN - 2 * 86_400_000, BEGIN - 2 * 86_400_000))
    window = Window(BEGIN, BEGIN + 50)
    tracemalloc.start()
    history = read_completed(RULES, first_state(RULES, window), rows[:-20], window)
    parts = {name: encode(part) for name, part in history.parts.items()}
    before = tracemalloc.get_traced_memory()[0]
    known = {
        hour: {node: bytes(bytearray(raw)) for node, raw in one.items()} for hour, one in history.state.done.items()
    }
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert known == history.state.done
    sizes = [len(raw or b"") for name, raw in parts.items() if name.startswith("done/")]
    state = read_completed(RULES, state, rows[:-20], window).state
    diff = median(runs, lambda: read_completed(RULES, state, rows, window))
    print(
        f"completed {count}: decode {decode:.0f} ms, diff of 20 new {diff:.0f} ms; kept {sum(sizes) / count:.0f} bytes a "
        f"call in {len(sizes)} records of {max(sizes)} bytes at most; memory {taken / count:.0f} bytes a call"
    )


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    for count in (ACTIVE, 10 * ACTIVE):
        active(runs, count, unique)
    for count in (1_000, ACTIVE):
        active(runs, count, alike)
    for count in (COMPLETED // 10, COMPLETED):
        completed(runs, count)


if __name__ == "__main__":
    main()
