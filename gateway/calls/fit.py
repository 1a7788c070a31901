"""When a row and a known call can be the same: bounds that meet, and what counts against a pair."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

import msgspec

from gateway.calls.clocks import ROUNDING
from gateway.calls.snapshots import Window
from gateway.calls.state import Call
from gateway.contract.times import Ms


def gap(one: Window, other: Window) -> Ms:
    """How far two bounds are from meeting; zero or less where they do."""
    return max(one.sent, other.sent) - min(one.received, other.received)


def nearby(rows: Sequence[Window], calls: Sequence[Window], tolerance: Ms) -> Iterator[tuple[int, int]]:
    """The (row, call) whose bounds are at most `tolerance` apart; time by how many these are, not by all pairs."""
    order = sorted(range(len(calls)), key=lambda c: calls[c].sent)
    sents = [calls[c].sent for c in order]
    widest = max((one.received - one.sent for one in calls), default=0)
    for r, row in enumerate(rows):
        first = bisect_left(sents, row.sent - tolerance - widest)
        for c in order[first : bisect_right(sents, row.received + tolerance)]:
            if gap(row, calls[c]) <= tolerance:
                yield r, c


def mistaken(call_of: Sequence[int | None], calls: int, far: Callable[[int, int], Ms | None]) -> list[tuple[int, int]]:
    """Pairs of the rows and calls that were left over, the nearest first.

    `far(row, call)` is None unless the row must have been in an active list in which the call was seen. Such a list is
    complete, so the row is of one of the calls that were seen then. Where its start fits none of them, a call begun
    within the bounds of another's start was taken for that one.
    """
    rows = [r for r, c in enumerate(call_of) if c is None]
    left = set(range(calls)).difference(c for c in call_of if c is not None)
    found: dict[int, int] = {}
    for _, r, c in sorted((d, r, c) for r in rows for c in left if (d := far(r, c)) is not None):
        if r not in found and c in left:
            left.remove(c)
            found[r] = c
    return list(found.items())


def distance(one: Window, other: Window) -> Ms:
    """How far the middles of two bounds are apart, doubled."""
    return abs(one.sent + one.received - other.sent - other.received)


def off(guess: Ms, bounds: Window) -> Ms:
    """How far a guess is from the middle of bounds, doubled."""
    return abs(2 * guess - bounds.sent - bounds.received)


def cut_off(start: Window) -> Window:
    """The bounds of a start as they are where seconds are cut off, as most software does; not rounded up, that is.

    Bounds of less than two seconds were drawn in already: the call was in the list, so it had begun.
    """
    whole = start.received - start.sent < 2 * ROUNDING
    return start if whole else Window(start.sent, start.received - ROUNDING)


def confused(call: Call, start: Window) -> Call:
    """The call, which may be one that began within `start` as well."""
    return msgspec.structs.replace(call, start=span(call.start, start), ambiguous=True)


def blurred(calls: Sequence[Call], ambiguous: Sequence[bool], islands: Sequence[int]) -> list[Call]:
    """The calls, with those that could not be told apart marked so: each may be any of them, so each may have begun,
    and left the list, when any of its island's did."""
    starts: dict[int, Window] = {}
    gone: dict[int, Window] = {}
    hidden: set[int] = set()
    for call, flag, island in zip(calls, ambiguous, islands, strict=True):
        if flag:
            starts[island] = span(starts.get(island, call.start), call.start)
            if call.gone is not None:
                gone[island] = span(gone.get(island, call.gone), call.gone)
                if call.hidden:
                    hidden.add(island)
    return [
        msgspec.structs.replace(
            call,
            ambiguous=True,
            start=starts[island],
            gone=None if call.gone is None else gone[island],
            hidden=call.gone is not None and island in hidden,
        )
        if flag and call.ended != "complete"
        else call
        for call, flag, island in zip(calls, ambiguous, islands, strict=True)
    ]


def span(one: Window, other: Window) -> Window:
    """Bounds that hold both."""
    return Window(min(one.sent, other.sent), max(one.received, other.received))
