"""What is remembered of an account, by a clock that was set, or that is another gateway's."""

from __future__ import annotations

import msgspec

from gateway.calls.clocks import Skew
from gateway.calls.snapshots import Window
from gateway.calls.state import MARK, AccountState, Call, Given, Mark, Parts, live_part
from gateway.contract.times import Ms


def moved(state: AccountState, low: Ms, high: Ms) -> tuple[AccountState, Parts]:
    """The state as it is by the gateway's clock since that was set forward by `low` … `high` ms (back: negative), and
    its parts to be written.

    All that the differ knows keeps its place among what it will learn. What it told was told by the clock before.
    """
    calls = {call.id: _call(call, low, high) for call in state.calls.values()}
    mark = _mark(state.mark, low, high)
    parts: Parts = {live_part(call.id): call for call in calls.values()}
    return msgspec.structs.replace(state, mark=mark, calls=calls), {**parts, MARK: mark}


def taken_over(state: AccountState, date: Ms | None, window: Window) -> tuple[AccountState, Parts]:
    """The state that was kept by a clock which may have been another, as it is by that of `window`; and its parts to be
    written, none where nothing speaks of two clocks.

    `date` is the answer's (server's clock). Where it contradicts what is known of the server's clock, ours is the one
    that differs: another machine's, or set while nobody looked.
    """
    if date is None:
        return state, {}
    known, sample = state.mark.skew.after(window.received), Skew.of(date, window)
    low, high = known.low - sample.high, known.high - sample.low
    return (state, {}) if low <= 0 <= high else moved(state, low, high)


def _mark(mark: Mark, low: Ms, high: Ms) -> Mark:
    skew, middle = mark.skew, (low + high) // 2
    return msgspec.structs.replace(
        mark,
        since=mark.since + low,
        skew=Skew(skew.low - high, skew.high - low, skew.at + middle),
        active=_window(mark.active, low, high),
        completed=_window(mark.completed, low, high),
        before=_window(mark.before, low, high),
        doubted=_later(mark.doubted, middle),
        emptied=_later(mark.emptied, middle),
    )


def _call(call: Call, low: Ms, high: Ms) -> Call:
    middle = (low + high) // 2
    return msgspec.structs.replace(
        call,
        start=Window(call.start.sent + low, call.start.received + high),
        time=call.time + middle,
        gone=_window(call.gone, low, high),
        ended_seen=_later(call.ended_seen, middle),
        dialled=_later(call.dialled, high),
        since=_later(call.since, low),
        mixed=_later(call.mixed, low),
        shown=_window(call.shown, low, high),
        given=None if call.given is None else _given(call.given, low, high),
    )


def _given(one: Given, low: Ms, high: Ms) -> Given:
    return Given(
        Window(one.start.sent + low, one.start.received + high),
        Window(one.end.sent + low, one.end.received + high),
        one.seen + low,
        one.listed,
    )


def _window(one: Window | None, low: Ms, high: Ms) -> Window | None:
    return None if one is None else Window(one.sent + low, one.received + high)


def _later(at: Ms, by: Ms) -> Ms:
    """0 stands for a moment that never was."""
    return at + by if at else 0
