"""The differ: (state, snapshot, when it came) -> (events, next state). Pure; the laws are in its functions' docstrings."""

from __future__ import annotations

import msgspec

from gateway.calls.active import active_rows, drop_lingering
from gateway.calls.channels import Channels, ChannelsRead, Leg, read_channels
from gateway.calls.clocks import unknown_skew
from gateway.calls.completed import completed_rows
from gateway.calls.draft import Diff, Draft
from gateway.calls.memory import HOUR
from gateway.calls.snapshots import ActiveRows, CompletedRows, Rules, Window
from gateway.calls.state import AccountState, Call, Mark
from gateway.contract.events import Evidence
from gateway.contract.times import Ms

# A list that is asked for so long after the one before it may not reach back to it: it goes back seven days, or six and
# what has passed of today.
_REACH: Ms = 5 * 24 * HOUR
# No answer is on its way for longer: one that was asked for still earlier is by another clock.
_OVERTAKEN: Ms = 60_000
# A completed list that lacks rows only because it is empty is believed after so many grace periods.
_ALONE = 10
# An active list that lacks a call only because it is empty ends it no sooner after it was seen: no call lasts so long.
_UNPROVEN: Ms = 24 * HOUR

__all__ = [
    "Channels",
    "ChannelsRead",
    "Diff",
    "Leg",
    "Rules",
    "Window",
    "first_state",
    "read_active",
    "read_channels",
    "read_completed",
]


def first_state(rules: Rules, window: Window) -> AccountState:
    """The state of an account that was never polled: what ended before `window` is history and gives no events."""
    return AccountState(mark=Mark(since=window.sent, skew=unknown_skew(rules.max_clock_skew, window.received)))


def read_active(
    rules: Rules, state: AccountState, rows: ActiveRows | None, window: Window, date: Ms | None = None
) -> Diff:
    """Diff the list of active calls.

    `rows` is None when the answer's bytes equal the last one's (law 8); `date` is the answer's Date (law 9). A row that
    no known call fits is a call that started (law 2); a known call that no row fits has left the list, which is written
    down but ends nothing yet (law 3); a row whose status says so answers its call (law 5).
    """
    draft = Draft(rules, state, window.received)
    last = state.mark.active
    if last is not None and last.sent - _OVERTAKEN <= window.sent < last.sent:
        # Overtaken by a later question's answer: it may be older than what is known, so it proves nothing.
        return draft.finish(_marked(state.mark, date, window))
    if rows is None and any(call.unlisted for call in state.calls.values()) and _nothing_listed(state):
        rows = ()  # an empty list, asked for anew: what channels alone have shown is not in it
    if rows is not None:
        active_rows(draft, rows, window)
        drop_lingering(draft, window)
    # Rows count seconds, so an unchanged answer with rows in it was not made afresh and shows nothing new.
    fresh = rows is not None or not state.calls or len(state.gone) == state.live()
    mark = _marked(state.mark, date, window)
    if fresh:
        mark = msgspec.structs.replace(mark, active=window, before=last)
    return draft.finish(mark)


def read_completed(
    rules: Rules, state: AccountState, rows: CompletedRows | None, window: Window, date: Ms | None = None
) -> Diff:
    """Diff the list of completed calls.

    `rows` is None when the answer's bytes equal the last one's (law 8). A row not seen before ends the call that it
    fits (law 3) or, where it fits none, is a whole life (law 4); a row seen before that says something else now is
    `call.updated`. A call that left the active list and that no row of a list asked for a grace period later fits has
    ended by absence (law 3), once an active list with other calls in it has shown that it is gone. A list that is empty
    although it should have rows counts as unknown for ten grace periods, and as none that what follows may go on from
    for a day.
    """
    draft = Draft(rules, state, window.received)
    mark = _marked(state.mark, date, window)
    if rows is not None:
        mark = msgspec.structs.replace(mark, emptied=0 if rows else mark.emptied or window.received)
    doubted = mark.emptied and _has_ended_lately(state, window)
    if doubted and window.sent < mark.emptied + _ALONE * rules.absence_grace:
        draft.deferred = True
        return draft.finish(mark)
    if rows is not None:
        completed_rows(draft, rows, mark, window)
    for call in draft.gone():
        assert call.gone is not None  # noqa: S101 - what makes it one of the gone
        if call.id not in draft.awaited and window.sent >= _absent_at(call, call.gone, mark, rules):
            middle = (call.gone.sent + call.gone.received) // 2
            left = call.left or call.gone
            # One that it can't be told apart from may have left since; so may a call that only empty lists lack.
            bounds = Window(left.sent, window.received) if call.ambiguous or call.hidden else left
            ended = draft.emit("call.ended", call, bounds, middle, Evidence.ABSENCE)
            draft.put(msgspec.structs.replace(ended, ended="absence", ended_seen=window.received))
            if call.unlisted:
                mark = msgspec.structs.replace(mark, doubted=window.received)
    if not doubted or window.sent >= mark.emptied + _UNPROVEN:
        mark = msgspec.structs.replace(mark, completed=window)
    return draft.finish(mark)


def _absent_at(call: Call, gone: Window, mark: Mark, rules: Rules) -> Ms:
    """When a call that left the active list and has no row is taken to have ended.

    An active list with other calls in it proves that this one is gone, a completed list with other rows in it that its
    row is missing. An empty list may be a fault that lasts a while.
    """
    doubted = (call.hidden or mark.emptied) and not call.unlisted
    believed = gone.received + rules.absence_grace * (_ALONE if doubted else 1)
    return max(believed, gone.sent + _UNPROVEN) if call.hidden and not call.unlisted else believed


def _has_ended_lately(state: AccountState, window: Window) -> bool:
    """Whether a call is remembered that ended so short before the last reading that this list must have it."""
    last = state.mark.completed
    if last is None or window.sent - last.sent > _REACH:
        return False
    return any(hour >= last.sent // HOUR - 1 for hour in state.done)


def _nothing_listed(state: AccountState) -> bool:
    """Whether the last active list that was read had no call of these in it."""
    return all(call.unlisted or call.gone is not None or call.ended is not None for call in state.calls.values())


def _marked(mark: Mark, date: Ms | None, window: Window) -> Mark:
    return mark if date is None else msgspec.structs.replace(mark, skew=mark.skew.narrowed(date, window))
