"""The list of active calls: starts, live answers, and calls that left it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import msgspec

from gateway.calls.clocks import ROUNDING
from gateway.calls.draft import Draft
from gateway.calls.fit import apart, blurred, confused, distance, gap, mistaken, unlikely
from gateway.calls.matching import match
from gateway.calls.snapshots import RINGING_STATUSES, ActiveRow, ActiveRows, Rules, Window
from gateway.calls.state import HOUR, Call, Numbers
from gateway.contract.events import Evidence
from gateway.contract.times import Ms

# How long an ended call is remembered beside its fingerprint, so that an active list that is behind the completed one
# (another node, a cache, answers that overtook each other) does not start it again.
_LINGER: Ms = 120_000
# A provisional end may be corrected for as long as RingCloud lists completed calls.
_LINGER_ABSENT: Ms = 7 * 24 * HOUR


def active_rows(draft: Draft, rows: ActiveRows, window: Window) -> None:
    by_numbers: dict[Numbers, list[ActiveRow]] = defaultdict(list)
    for row in rows:
        by_numbers[row.src, row.dst].append(row)
    seen: set[str] = set()
    last = draft.state.mark.active
    for numbers, group in by_numbers.items():
        starts = [_start_of(row, window) for row in group]
        calls = sorted(draft.known(numbers), key=_rank)
        paired = match(
            len(group), len(calls), _distance(group, starts, calls, draft.rules), [_rank(call) for call in calls]
        )
        call_of = list(paired.call_of)
        strained = [c is not None and gap(starts[r], calls[c].start) > 0 for r, c in enumerate(call_of)]
        calls = blurred(calls, paired.call_ambiguous, paired.call_island)
        # What an ended call would take is left over too: a row that is behind is less likely than one that goes on.
        fresh = [c if c is not None and calls[c].ended is None else None for c in call_of]
        for r, c in mistaken(fresh, len(calls), _listed(starts, calls, last)):
            call_of[r], calls[c] = c, confused(calls[c], starts[r])
        draft.put_changed(calls)
        for r, row in enumerate(group):
            index = call_of[r]
            if index is None:
                _start(draft, row, starts[r], window, ambiguous=paired.row_ambiguous[r])
            else:
                seen.add(calls[index].id)
                _seen(draft, calls[index], row, window, ambiguous=strained[r])
    for call in [draft.calls[one] for one in draft.state.calls if one not in seen]:
        if call.ended != "complete" and call.gone is None:
            # The watermark may be older than the call's first sight (it is written with changes only).
            sent = call.start.sent if last is None else max(last.sent, call.start.sent)
            draft.put(msgspec.structs.replace(call, gone=Window(min(sent, window.received), window.received)))


def _distance(
    rows: list[ActiveRow], starts: list[Window], calls: list[Call], rules: Rules
) -> Callable[[int, int], Ms | None]:
    def between(r: int, c: int) -> Ms | None:
        far = apart(starts[r], calls[c].start, rules.tolerance)
        return unlikely(far, calls[c].answered and rows[r].status in RINGING_STATUSES)

    return between


def _listed(starts: list[Window], calls: list[Call], last: Window | None) -> Callable[[int, int], Ms | None]:
    def far(r: int, c: int) -> Ms | None:
        both = last is not None and starts[r].received <= last.sent and _rank(calls[c]) == 0
        return distance(starts[r], calls[c].start) if both else None

    return far


def _rank(call: Call) -> int:
    """Calls in the list when it was last read take its rows first, then those that had left it, then ended ones."""
    return 2 if call.ended is not None else int(call.gone is not None)


def _start_of(row: ActiveRow, window: Window) -> Window:
    """Bounds of the start of the call in `row`: `seconds` before the answer was made, give or take its rounding."""
    begun = row.seconds * 1_000
    return Window(window.sent - begun - ROUNDING, min(window.received - begun + ROUNDING, window.received))


def _start(draft: Draft, row: ActiveRow, start: Window, window: Window, *, ambiguous: bool) -> None:
    call = Call(
        id=draft.new_id("active", row.src, row.dst),
        src=row.src,
        dst=row.dst,
        start=start,
        sequence=0,
        time=start.sent,
        ringing=row.status in RINGING_STATUSES,
        ambiguous=ambiguous,
    )
    guess = (window.sent + window.received) // 2 - row.seconds * 1_000 - ROUNDING // 2
    call = draft.emit("call.started", call, start, guess, Evidence.ACTIVE)
    if row.status in draft.rules.answered_statuses:
        call = draft.answer(call, Window(start.sent, window.received), Evidence.STATUS)
    draft.put(call)


def _seen(draft: Draft, call: Call, row: ActiveRow, window: Window, *, ambiguous: bool) -> None:
    if call.ended is not None:
        # An ended call is never taken back: the row was made before its end. Unless that was guessed: the list was
        # wrong, and the completed row that corrects it will tell of a later end.
        if call.ended == "absence" and call.gone is not None:
            draft.put(msgspec.structs.replace(call, gone=None))
        return
    ringing = row.status in RINGING_STATUSES
    now = msgspec.structs.replace(call, gone=None, ringing=ringing, ambiguous=call.ambiguous or ambiguous)
    if not call.answered and row.status in draft.rules.answered_statuses:
        last = draft.state.mark.active
        rang_until = call.gone.sent if call.gone else last.sent if last else call.start.sent
        low = max(call.start.sent, rang_until) if call.ringing else call.start.sent
        now = draft.answer(now, Window(min(low, window.received), window.received), Evidence.STATUS)
    if now != call:
        draft.put(now)


def drop_lingering(draft: Draft, window: Window) -> None:
    for call in list(draft.calls.values()):
        if call.ended is not None and window.received - call.ended_seen > (
            _LINGER if call.ended == "complete" else _LINGER_ABSENT
        ):
            draft.drop(call)
