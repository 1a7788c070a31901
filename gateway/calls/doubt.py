"""Calls that have ended, or seem to go on, though the row that says so may be another's; and what follows for later rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.calls.fit import gap
from gateway.calls.snapshots import Window
from gateway.calls.state import Call
from gateway.contract.times import Ms

# Bounds of a start and of an end.
Span = tuple[Window, Window]


class Doubts:
    """The calls among `calls` that a row which no call is left for may be of in spite of what was told of them."""

    def __init__(self, calls: Iterable[Call], now: Ms, tolerance: Ms) -> None:
        self._tolerance = tolerance
        self._calls = [(call, end) for call in calls if (end := _end(call, now)) is not None]

    def of(self, spans: Sequence[Span]) -> list[Call]:
        """The calls that the row which means one of `spans` may be of, and those that may have ended by the row of one of
        these instead, and so on: as far as that leaves over a row that is perhaps of a call never told of."""
        steps: dict[int, list[int]] = {}
        queue = self._meeting(spans)
        for n in queue:
            if n not in steps:
                given = self._calls[n][0].given
                steps[n] = [] if given is None else self._meeting([(given.start, given.end)])
                queue += steps[n]
        back: dict[int, list[int]] = {}
        for n, others in steps.items():
            for other in others:
                back.setdefault(other, []).append(n)
        found = [n for n in steps if _leaves_over(self._calls[n][0])]
        seen = set(found)
        for n in found:
            new = set(back.get(n, ())) - seen
            seen |= new
            found += sorted(new)
        return [self._calls[n][0] for n in sorted(seen)]

    def _meeting(self, spans: Sequence[Span]) -> list[int]:
        return [
            n
            for n, (call, until) in enumerate(self._calls)
            if any(
                gap(start, call.start) <= self._tolerance and gap(end, until) <= self._tolerance for start, end in spans
            )
        ]


def _end(call: Call, now: Ms) -> Window | None:
    """When the call may have ended if its row was another's, or if what goes on is another; None where neither can be."""
    if call.haunted:
        return Window(call.start.sent, now)
    if call.since:
        return Window(call.since, now)
    if call.ended != "complete":
        return None
    if call.left is None:
        return None if call.given is None else Window(call.given.seen, now)
    return Window(call.left.sent, now) if call.hidden else call.left


def _leaves_over(call: Call) -> bool:
    """Whether, if the call did not end by the row that it was given, that may be the row of a call never told of."""
    return bool(call.haunted or call.since) or call.given is None or not call.given.listed
