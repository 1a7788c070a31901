"""The differ: (state, snapshot, when it came) -> (events, next state). Pure; the laws are in its functions' docstrings."""

from __future__ import annotations

import msgspec

from gateway.calls.active import active_rows, drop_lingering
from gateway.calls.clocks import unknown_skew
from gateway.calls.completed import completed_rows
from gateway.calls.draft import Diff, Draft
from gateway.calls.snapshots import ActiveRows, CompletedRows, Rules, Window
from gateway.calls.state import AccountState, Mark
from gateway.contract.events import Evidence
from gateway.contract.times import Ms

__all__ = ["Diff", "Rules", "Window", "first_state", "read_active", "read_completed"]


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
    if last is not None and window.sent < last.sent:
        # Overtaken by a later question's answer: it may be older than what is known, so it proves nothing.
        return draft.finish(_marked(state.mark, date, window))
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
    ended by absence (law 3).
    """
    draft = Draft(rules, state, window.received)
    mark = _marked(state.mark, date, window)
    if rows is not None:
        completed_rows(draft, rows, mark, window)
    for call in draft.gone():
        assert call.gone is not None  # noqa: S101 - what makes it one of the gone
        if call.id not in draft.awaited and window.sent >= call.gone.received + rules.absence_grace:
            middle = (call.gone.sent + call.gone.received) // 2
            ended = draft.emit("call.ended", call, call.gone, middle, Evidence.ABSENCE)
            draft.put(msgspec.structs.replace(ended, ended="absence", ended_seen=window.received))
    return draft.finish(msgspec.structs.replace(mark, completed=window))


def _marked(mark: Mark, date: Ms | None, window: Window) -> Mark:
    return mark if date is None else msgspec.structs.replace(mark, skew=mark.skew.narrowed(date, window))
