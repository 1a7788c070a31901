"""When the call of a completed row began and ended: in an hour that comes twice, more than one answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from gateway.calls.fit import span
from gateway.calls.snapshots import CompletedRow, WallTime, Window
from gateway.calls.state import Mark
from gateway.contract.times import Ms


class Estimate(msgspec.Struct, frozen=True):
    """Bounds of a moment, gateway clock, and the best guess within them."""

    bounds: Window
    guess: Ms


class Life(msgspec.Struct, frozen=True):
    """A call from its start to its end, as a completed row may mean it."""

    start: Estimate
    end: Estimate


def lives_of(row: CompletedRow, mark: Mark, window: Window) -> tuple[Life, ...]:
    """What the times of a row in an answer made in `window` can mean, the earliest first; nearly always one life.

    Of two instants for the start and two for the end, those go together that are `duration` apart. The row exists, so
    its call had ended when the answer came.
    """
    starts, ends = _instants(row.start), _instants(row.end)
    if len(starts) == len(ends) == 1:
        return (_life(starts[0], ends[0], mark, window)[0],)
    pairs = [(abs(end - start - row.duration * 1_000), start, end) for start in starts for end in ends]
    nearest = min(pairs)[0]
    found = [_life(start, end, mark, window) for off, start, end in pairs if off == nearest]
    return tuple(life for life, over in found if over) or (found[0][0],)


def merged(lives: Sequence[Life]) -> Life:
    """One life for all that may have been: bounds that hold them all. The latest is the likeliest, as rows are new."""
    if len(lives) == 1:
        return lives[0]
    return Life(
        Estimate(_hull(life.start.bounds for life in lives), lives[-1].start.guess),
        Estimate(_hull(life.end.bounds for life in lives), lives[-1].end.guess),
    )


def _instants(at: WallTime) -> tuple[Ms, ...]:
    return (at.earliest,) if at.earliest == at.latest else (at.earliest, at.latest)


def _life(start: Ms, end: Ms, mark: Mark, window: Window) -> tuple[Life, bool]:
    """The life between two instants of the server's clock, and whether it can have been over when the answer came."""
    low, high, guess = mark.skew.instant(start)
    end_low, end_high, end_guess = mark.skew.instant(end)
    bounds = Window(min(end_low, window.received), min(end_high, window.received))
    return Life(Estimate(Window(low, high), guess), Estimate(bounds, end_guess)), end_low <= window.received


def _hull(bounds: Iterable[Window]) -> Window:
    first, *others = bounds
    for one in others:
        first = span(first, one)
    return first
