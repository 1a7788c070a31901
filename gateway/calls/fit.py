"""When a row and a known call can be the same: bounds that meet, and what counts against a pair."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.calls.snapshots import Window
from gateway.calls.state import Call
from gateway.contract.times import Ms


def gap(one: Window, other: Window) -> Ms:
    """How far two bounds are from meeting; zero or less where they do."""
    return max(one.sent, other.sent) - min(one.received, other.received)


def apart(one: Window, other: Window, tolerance: Ms) -> Ms | None:
    """How far the middles of two bounds are apart; None where the bounds are more than `tolerance` apart."""
    if gap(one, other) > tolerance:
        return None
    return abs(one.sent + one.received - other.sent - other.received)


def unlikely(distance: Ms | None, contradicts: bool) -> Ms | None:
    """A pair that contradicts what is known of the call's answer is taken only where no other is possible."""
    return distance if distance is None or not contradicts else distance + 1_000_000_000


def blurred(calls: Sequence[Call], ambiguous: Sequence[bool]) -> list[Call]:
    """The calls, with those that could not be told apart marked so: each may be any of them, so each may have begun
    when any of them did."""
    confused = [call.start for call, flag in zip(calls, ambiguous, strict=True) if flag]
    if not confused:
        return list(calls)
    start = Window(min(one.sent for one in confused), max(one.received for one in confused))
    return [
        msgspec.structs.replace(call, ambiguous=True, start=start) if flag and call.ended != "complete" else call
        for call, flag in zip(calls, ambiguous, strict=True)
    ]
