"""The list of active calls: starts, live answers, and calls that left it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from gateway.calls.clocks import ROUNDING
from gateway.calls.draft import Draft
from gateway.calls.fit import blurred, confused, cut_off, distance, gap, mistaken, nearby, span
from gateway.calls.matching import UNLIKELY, Matching, kinds, match
from gateway.calls.memory import HOUR
from gateway.calls.snapshots import RINGING_STATUSES, ActiveRow, ActiveRows, Rules, Window
from gateway.calls.state import ANSWERED, RINGS, SILENT, Call, Numbers
from gateway.contract.events import Evidence
from gateway.contract.times import Ms

# How long an ended call is remembered beside its fingerprint, so that an active list that is behind the completed one
# (another node, a cache, answers that overtook each other) does not start it again.
_LINGER: Ms = 120_000
# If its row may have been another's, its own may be late: until then it is to be known that either is in doubt.
_LINGER_UNPROVEN: Ms = 600_000
_ENDED = 2
# A provisional end may be corrected for as long as RingCloud lists completed calls.
_LINGER_ABSENT: Ms = 7 * 24 * HOUR


def active_rows(draft: Draft, rows: ActiveRows, window: Window) -> None:
    seen, rest = _as_before(draft, rows, window)
    last, tolerance = draft.state.mark.active, draft.rules.tolerance
    for numbers, group in rest.items():
        starts = [_start_of(row, window) for row in group]
        calls = sorted(draft.known(numbers), key=_rank)
        if not calls:
            for row, start in zip(group, starts, strict=True):
                _start(draft, row, start, window, ambiguous=False)
            continue
        paired = _paired(group, starts, calls, draft.rules, window)
        call_of = list(paired.call_of)
        strained = [c is not None and gap(starts[r], calls[c].start) > 0 for r, c in enumerate(call_of)]
        calls = blurred(calls, paired.call_ambiguous, paired.call_island)
        calls = _mixed(calls, paired, last)
        # Where bounds hardly meet the row may be of a call that began as this one ended; and then so may the others.
        doubtful = {
            paired.row_island[r]
            for r, c in enumerate(call_of)
            if c is not None and _rank(calls[c]) == 0 and gap(cut_off(starts[r]), cut_off(calls[c].start)) >= 0
        }
        for r, c in enumerate(call_of):
            if c is None or calls[c].ended is not None:
                continue
            calls[c] = _loose(calls[c], starts[r], last)
            if paired.call_ambiguous[c] or paired.row_island[r] in doubtful:
                calls[c] = confused(calls[c], starts[r])
            elif gap(starts[r], calls[c].start) > -ROUNDING:
                calls[c] = msgspec.structs.replace(calls[c], start=span(calls[c].start, starts[r]))
        taken = set(call_of)
        shown = [call.shown for c, call in enumerate(calls) if call.shown is not None and c not in taken]
        for r, c in enumerate(call_of):
            # What a list showed of a call that had ended may have been another, which goes on as this one.
            if c is not None and calls[c].ended is None and any(gap(starts[r], one) <= tolerance for one in shown):
                calls[c] = _since(confused(calls[c], starts[r]), _seen_at(calls[c], last))
        # What an ended call would take is left over too: a row that is behind is less likely than one that goes on.
        fresh = [c if c is not None and _place(calls[c], window) < _ENDED else None for c in call_of]
        for r, c in mistaken(fresh, len(calls), _listed(draft.rules, group, starts, calls, call_of, last)):
            call_of[r], calls[c] = c, _since(confused(calls[c], starts[r]), _seen_at(calls[c], last))
        draft.put_changed(calls)
        for r, row in enumerate(group):
            index = call_of[r]
            if index is None:
                _start(draft, row, starts[r], window, ambiguous=paired.row_ambiguous[r])
            else:
                seen.add(calls[index].id)
                _seen(draft, calls[index], row, starts[r], window, ambiguous=strained[r])
    for call in [draft.calls[one] for one in draft.state.calls if one not in seen]:
        # The answer may have been made before a call began that only its channels have shown.
        if call.ended != "complete" and call.gone is None and not (call.unlisted and window.sent < call.start.received):
            gone = Window(min(_seen_at(call, last), window.received), window.received)
            draft.put(msgspec.structs.replace(call, gone=gone, hidden=not rows))
        elif call.ended == "complete" and call.hidden and call.gone is not None and rows:
            draft.put(msgspec.structs.replace(call, gone=Window(call.gone.sent, window.received), hidden=False))
    for call in draft.gone() if rows else ():
        if call.hidden and call.gone is not None:
            draft.put(msgspec.structs.replace(call, gone=Window(call.gone.sent, window.received), hidden=False))


def _as_before(draft: Draft, rows: ActiveRows, window: Window) -> tuple[set[str], dict[Numbers, list[ActiveRow]]]:
    """The ids of the calls that go on as they were, and the rows of all other numbers.

    Nearly all rows are the only ones of their numbers, of the only call of these: this is the differ's busiest loop. It
    looks at each row once, and at nothing of the call but what `alone` has ready.
    """
    rest: dict[Numbers, list[ActiveRow]] = {}
    alone, said = draft.state.alone, _Said(draft.rules)
    sent, received = window.sent - ROUNDING, window.received
    last = draft.state.mark.active
    # A row that counts so many ms is of a call that had begun when it was last seen.
    old = 0 if last is None else received + ROUNDING - last.sent
    ids: list[str] = []
    for row in rows:
        numbers = row.src, row.dst
        only = alone.get(numbers)
        if only is not None:
            call, latest, earliest, anew, statuses = only
            begun = row.seconds * 1_000
            # As `_paired` would have it: bounds that meet by more than a doubt, and a status that says nothing new.
            if (
                sent - begun <= latest
                and earliest <= received - begun
                and (begun >= old or anew)
                and said[row.status] & statuses
            ):
                ids.append(call)
                continue
        rest.setdefault(numbers, []).append(row)
    seen = set(ids)
    # No call is alone any more that several rows fit, or whose numbers have a row that does not fit it.
    crowded = {numbers for numbers in rest if numbers in alone and alone[numbers].id in seen}
    if len(seen) < len(ids):
        often = {call for call, times in Counter(ids).items() if times > 1}
        crowded |= {numbers for numbers, only in alone.items() if only.id in often}
    if crowded:
        for numbers in crowded:
            seen.discard(alone[numbers].id)
            rest.pop(numbers, None)
        for row in rows:
            if (row.src, row.dst) in crowded:
                rest.setdefault((row.src, row.dst), []).append(row)
    return seen, rest


class _Said(dict[str, int]):
    """What each status says; found once for all the rows that have it."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def __missing__(self, status: str) -> int:
        rings, answered = status in RINGING_STATUSES, status in self._rules.answered_statuses
        # One that says both says something new of any call but an answered one, and of that too, as it rings.
        said = self[status] = 0 if rings and answered else RINGS if rings else ANSWERED if answered else SILENT
        return said


def _paired(rows: list[ActiveRow], starts: list[Window], calls: list[Call], rules: Rules, window: Window) -> Matching:
    """Rows over calls: a row that rings is of no call that was answered while live, and one that was answered is of a
    call that was, if there is one. So no more calls are told answered than were, whichever of them it is told of."""
    row_kinds = kinds(zip(starts, (_status(row, rules) for row in rows), strict=True))
    call_kinds = kinds((_place(call, window), call.start, call.answered, call.ringing, call.gone) for call in calls)
    shown = [(starts[r], _status(rows[r], rules)) for r in row_kinds.first()]
    known = [calls[c] for c in call_kinds.first()]
    near: dict[tuple[int, int], Ms] = {}
    for r, c in nearby([start for start, _ in shown], [call.start for call in known], rules.tolerance):
        (start, status), call = shown[r], known[c]
        if status == "ringing" and call.answered and call.ended is None:
            continue
        # That a call was answered since is no wonder: what counts is that answered rows go to answered calls.
        likely = 0 if status == "answered" and call.answered else 2 if status == "ringing" and call.answered else 1
        near[r, c] = distance(cut_off(start), cut_off(call.start)) + likely * UNLIKELY
    return match(row_kinds, call_kinds, near, [_place(call, window) for call in known])


def _status(row: ActiveRow, rules: Rules) -> str:
    if row.status in rules.answered_statuses:
        return "answered"
    return "ringing" if row.status in RINGING_STATUSES else ""


def _listed(
    rules: Rules,
    rows: list[ActiveRow],
    starts: list[Window],
    calls: list[Call],
    call_of: list[int | None],
    last: Window | None,
) -> Callable[[int, int], Ms | None]:
    haunted = any(call.haunted for call in calls)

    def far(r: int, c: int) -> Ms | None:
        if last is None or starts[r].received > last.sent or _rank(calls[c]) > 0:
            return None
        taken = call_of[r]
        if taken is not None and calls[taken].haunted:
            return None  # it was in the last list as well, and was not this call's there
        status = _status(rows[r], rules)
        if status == "ringing" and calls[c].answered:
            # A call's status may have gone back; but not if the row was one that an ended call was seen in.
            other = call_of[r] is not None or haunted
            return None if other else distance(cut_off(starts[r]), cut_off(calls[c].start)) + 2 * UNLIKELY
        contradicts = status == "answered" and not calls[c].answered
        return distance(cut_off(starts[r]), cut_off(calls[c].start)) + (UNLIKELY if contradicts else 0)

    return far


def _rank(call: Call) -> int:
    """Calls in the list when it was last read take its rows first, then those that had left it, then ended ones."""
    return _ENDED if call.ended is not None else int(call.gone is not None)


def _place(call: Call, window: Window) -> int:
    """Its rank; but a call that, as its row has it, ended after this list was made is rightly in it."""
    late = call.ended == "complete" and window.sent + window.received < 2 * call.time
    return 0 if late else _rank(call)


def _mixed(calls: list[Call], paired: Matching, last: Window | None) -> list[Call]:
    """The calls; where one has left, now or before, and nothing tells which, those that have a row may be it."""
    taken = {c for c in paired.call_of if c is not None}
    mixed = [flag and call.ended is None for flag, call in zip(paired.call_ambiguous, calls, strict=True)]
    left = {paired.call_island[c] for c, flag in enumerate(mixed) if flag and c not in taken}
    return [
        _since(call, call.gone.sent if call.gone else _seen_at(call, last))
        if mixed[c] and c in taken and (call.gone is not None or paired.call_island[c] in left)
        else call
        for c, call in enumerate(calls)
    ]


def _since(call: Call, at: Ms) -> Call:
    return msgspec.structs.replace(call, mixed=min(call.mixed or at, at))


def _loose(call: Call, start: Window, last: Window | None) -> Call:
    """The call; if what a row begun within `start` shows may have begun since the call was last seen, it may have ended."""
    if call.unlisted:
        return call
    seen = call.gone.sent if call.gone else _seen_at(call, last)
    if start.received <= seen:
        return call
    return msgspec.structs.replace(call, since=min(call.since or seen, seen), start=span(call.start, start))


def _seen_at(call: Call, last: Window | None) -> Ms:
    """When the last list that showed the call was asked for; the watermark may be older than the call's first sight, as it
    is written with changes only."""
    return call.start.sent if last is None or call.unlisted else max(last.sent, call.start.sent)


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


def _seen(draft: Draft, call: Call, row: ActiveRow, start: Window, window: Window, *, ambiguous: bool) -> None:
    if call.ended is not None:
        # An ended call is never taken back: the row was made before its end. Unless that was guessed: the list was
        # wrong, and the completed row that corrects it will tell of a later end.
        if call.ended == "absence" and call.gone is not None:
            draft.put(msgspec.structs.replace(call, gone=None, hidden=False))
        elif call.ended == "complete" and not call.haunted:
            draft.put(msgspec.structs.replace(call, haunted=True, shown=start))
        return
    ringing = row.status in RINGING_STATUSES
    now = msgspec.structs.replace(
        call, gone=None, hidden=False, ringing=ringing, ambiguous=call.ambiguous or ambiguous, unlisted=False
    )
    if not call.answered and row.status in draft.rules.answered_statuses:
        last = draft.state.mark.active
        rang_until = call.gone.sent if call.gone else last.sent if last else call.start.sent
        low = max(call.start.sent, rang_until) if call.ringing and not now.ambiguous else call.start.sent
        now = draft.answer(now, Window(min(low, window.received), window.received), Evidence.STATUS)
    if now != call:
        draft.put(now)


def drop_lingering(draft: Draft, window: Window) -> None:
    read = draft.state.mark.completed
    for call in [call for call in draft.calls.values() if call.ended is not None]:
        unproven = call.ended == "complete" and (call.gone is not None or call.given is not None)
        # A row is late by the readings of the list that it is missing from: none were made in an outage.
        now = min(window.received, read.received) if unproven and read is not None else window.received
        if now - call.ended_seen > (_LINGER_UNPROVEN if unproven else _lingers(call)):
            draft.drop(call)


def _lingers(call: Call) -> Ms:
    return _LINGER_ABSENT if call.ended == "absence" else _LINGER
