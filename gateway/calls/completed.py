"""The list of completed calls: ends, whole lives of calls never seen active, and corrections."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from gateway.calls.draft import Draft
from gateway.calls.fit import apart, blurred, confused, distance, gap, mistaken, unlikely
from gateway.calls.matching import match
from gateway.calls.snapshots import CompletedRow, CompletedRows, Window
from gateway.calls.state import HOUR, REMEMBERED_HOURS, Call, Done, Mark, Numbers, checksum, fingerprint
from gateway.contract.events import Direction, Evidence
from gateway.contract.times import Ms

ANSWERED = "ANSWERED"
# What may be corrected of an ended call, in the order of `_says`. `time` is that of its end.
_CORRECTABLE = ("time", "duration", "disposition", "rec_file")
_DIRECTIONS: dict[str, Direction] = {"incoming": "incoming", "outgoing": "outgoing", "internal": "internal"}


class _Estimate(msgspec.Struct, frozen=True):
    bounds: Window
    guess: Ms


def completed_rows(draft: Draft, rows: CompletedRows, mark: Mark, window: Window) -> None:
    by_print: dict[tuple[int, int], list[CompletedRow]] = defaultdict(list)
    for row in rows:
        by_print[row.start.earliest // HOUR, fingerprint(row)].append(row)
    fresh: dict[Numbers, list[CompletedRow]] = defaultdict(list)
    for (hour, print_), group in by_print.items():
        known = draft.remembered(hour, print_)
        for row in _reconcile(draft, hour, print_, known, group, mark, window):
            fresh[row.src, row.dst].append(row)
    for group in sorted(fresh.values(), key=lambda group: min(_order(row) for row in group)):
        group.sort(key=_order)
        _complete(draft, group, mark, window)
    draft.forget_hours(window.received // HOUR - REMEMBERED_HOURS, listed={hour for hour, _ in by_print})


def _order(row: CompletedRow) -> tuple[Ms, Ms, str, str]:
    return row.start.earliest, row.end.earliest, row.src, row.dst


def _says(row: CompletedRow) -> tuple[Ms, int, str, int]:
    return row.end.earliest, row.duration, row.disposition, checksum(row.rec_file)


def _reconcile(
    draft: Draft,
    hour: int,
    print_: int,
    known: tuple[Done, ...],
    rows: list[CompletedRow],
    mark: Mark,
    window: Window,
) -> list[CompletedRow]:
    """The rows of one fingerprint that were not seen before; corrected ones give `call.updated` here."""
    if not known:
        return rows
    left = list(rows)
    changed: list[Done] = []
    kept: list[Done] = []
    for done in known:
        same = next((row for row in left if _says(row) == done.says()), None)
        if same is None:
            changed.append(done)
        else:
            left.remove(same)
            kept.append(done)
    if not changed or not left:
        return left
    fits = sorted((len(_changes(done, row)), d, r) for d, done in enumerate(changed) for r, row in enumerate(left))
    row_of: dict[int, int] = {}
    for _, d, r in fits:
        if d not in row_of and r not in row_of.values():
            row_of[d] = r
    kept += [
        _update(draft, done, left[row_of[d]], mark, window) if d in row_of else done for d, done in enumerate(changed)
    ]
    draft.remember(hour, print_, tuple(kept))
    return [row for r, row in enumerate(left) if r not in row_of.values()]


def _changes(done: Done, row: CompletedRow) -> tuple[str, ...]:
    """What the row says differently."""
    return tuple(field for field, old, new in zip(_CORRECTABLE, done.says(), _says(row), strict=True) if old != new)


def _update(draft: Draft, done: Done, row: CompletedRow, mark: Mark, window: Window) -> Done:
    sequence = done.sequence
    if done.call_id:
        call = draft.calls.get(done.call_id) or Call(
            id=done.call_id,
            src=row.src,
            dst=row.dst,
            start=Window(0, 0),
            sequence=done.sequence,
            time=0,
            ambiguous=done.ambiguous,
        )
        call = msgspec.structs.replace(call, answered=call.answered or done.answered)
        end = _end_of(row, mark, window)
        facts = _facts(row, call)
        call = draft.emit(
            "call.updated", call, end.bounds, end.guess, Evidence.COMPLETE, **facts, changed=_changes(done, row)
        )
        sequence = call.sequence
        if done.call_id in draft.calls:
            draft.put(call)
    return Done(done.call_id, sequence, done.ambiguous, *_says(row), done.answered or row.disposition == ANSWERED)


class _Fit:
    """New rows of the same numbers against the calls that they may end."""

    def __init__(self, draft: Draft, rows: list[CompletedRow], mark: Mark, window: Window) -> None:
        self.tolerance = draft.rules.tolerance
        self.rows = rows
        known = draft.known((rows[0].src, rows[0].dst))
        self.calls = sorted((call for call in known if call.ended != "complete"), key=_rank)
        self.starts = [_bounds_of_start(row, mark) for row in rows]
        self.ends = [_end_of(row, mark, window) for row in rows]
        self.last = draft.state.mark.active
        self.readings = [one for one in (self.last, draft.state.mark.before) if one is not None]
        self.now = window

    def end_of_call(self, call: Call) -> Window:
        """Bounds of the call's end, by the active list: it was seen after the first and may have ended until the second."""
        if call.gone is not None:
            return call.gone
        seen = call.start.sent if self.last is None else max(self.last.sent, call.start.sent)
        return Window(min(seen, self.now.received), self.now.received)

    def distance(self, r: int, c: int) -> Ms | None:
        """How far row and call are apart in start and end; None where they can't be the same call."""
        call = self.calls[c]
        start = apart(self.starts[r].bounds, call.start, self.tolerance)
        end = apart(self.ends[r].bounds, self.end_of_call(call), self.tolerance)
        if start is None or end is None:
            return None
        return unlikely(start + (end if call.gone else 0), call.answered and self.rows[r].disposition != ANSWERED)

    def strained(self, r: int, c: int) -> bool:
        """Whether the pair fits by tolerance alone."""
        call = self.calls[c]
        return gap(self.starts[r].bounds, call.start) > 0 or gap(self.ends[r].bounds, self.end_of_call(call)) > 0

    def early(self, r: int, c: int, grace: Ms) -> bool:
        """Whether the next active list will tell if this row ends this call or is a short call beside it.

        A row is surely of a known call only if an active list that was read well would have shown it; until a call
        has left the list, a row too short to have been in one may be another call of the same numbers.
        """
        if self.calls[c].gone is not None or self.now.sent > self.ends[r].bounds.received + grace:
            return False
        return not self.listed(r)

    def listed(self, r: int) -> bool:
        """Whether the row's call must have been in one of the last active lists."""
        start, end = self.starts[r].bounds, self.ends[r].bounds
        return any(start.received <= one.sent and one.received <= end.sent for one in self.readings)

    def mistaken(self, call_of: list[int | None], waits: list[bool], kept: list[bool]) -> list[tuple[int, int]]:
        """The rows left over that must be one of the calls left over; not those that wait for the next active list."""

        def far(r: int, c: int) -> Ms | None:
            call = self.calls[c]
            out = waits[r] or kept[c] or gap(self.ends[r].bounds, self.end_of_call(call)) > self.tolerance
            return None if out or not self.listed(r) else distance(self.starts[r].bounds, call.start)

        return mistaken(call_of, len(self.calls), far)


def _rank(call: Call) -> int:
    """Calls that left the active list ended first, so their rows are listed first."""
    return int(call.gone is None)


def _complete(draft: Draft, rows: list[CompletedRow], mark: Mark, window: Window) -> None:
    """Give each of these new rows of the same numbers to the call that it ends, or a whole life."""
    fit = _Fit(draft, rows, mark, window)
    paired = match(len(rows), len(fit.calls), fit.distance, [_rank(call) for call in fit.calls])
    pairs = [(r, c) for r, c in enumerate(paired.call_of) if c is not None]
    early = {paired.row_island[r] for r, c in pairs if fit.early(r, c, draft.rules.absence_grace)}
    waits = [island in early for island in paired.row_island]
    kept = [island in early for island in paired.call_island]
    draft.deferred |= any(waits)
    draft.awaited.update(call.id for call, flag in zip(fit.calls, kept, strict=True) if flag)
    call_of = list(paired.call_of)
    strained = [c is not None and fit.strained(r, c) for r, c in enumerate(call_of)]
    confusable = [flag and not stays for flag, stays in zip(paired.call_ambiguous, kept, strict=True)]
    calls = blurred(fit.calls, confusable, paired.call_island)
    for r, c in fit.mistaken(call_of, waits, kept):
        call_of[r], calls[c] = c, confused(calls[c], fit.starts[r].bounds)
    draft.put_changed(calls)
    for r, row in enumerate(rows):
        if waits[r]:
            continue
        index = call_of[r]
        ambiguous = paired.row_ambiguous[r] or strained[r]
        if index is not None:
            call = msgspec.structs.replace(calls[index], ambiguous=calls[index].ambiguous or ambiguous)
        elif fit.ends[r].bounds.received < mark.since:
            _remember(draft, row, Call("", row.src, row.dst, fit.starts[r].bounds, 0, 0))
            continue
        else:
            call = _begin(draft, row, fit.starts[r], fit.ends[r], ambiguous=ambiguous)
        _end(draft, call, row, fit.ends[r], window)


def _begin(draft: Draft, row: CompletedRow, start: _Estimate, end: _Estimate, *, ambiguous: bool) -> Call:
    high = min(start.bounds.received, end.bounds.received)
    bounds = Window(min(start.bounds.sent, high), high)
    call = Call(
        id=draft.new_id("complete", row.src, row.dst),
        src=row.src,
        dst=row.dst,
        start=bounds,
        sequence=0,
        time=bounds.sent,
        ambiguous=ambiguous,
    )
    return draft.emit(
        "call.started",
        call,
        bounds,
        start.guess,
        Evidence.COMPLETE,
        direction=_direction(row),
        answered=row.disposition == ANSWERED,
    )


def _end(draft: Draft, call: Call, row: CompletedRow, end: _Estimate, window: Window) -> None:
    if call.ended == "absence":
        changed = _CORRECTABLE if row.rec_file is not None else _CORRECTABLE[:-1]
        call = draft.emit(
            "call.updated", call, end.bounds, end.guess, Evidence.COMPLETE, **_facts(row, call), changed=changed
        )
    else:
        if row.disposition == ANSWERED and not call.answered:
            answer = Window(min(call.start.sent, end.bounds.received), end.bounds.received)
            call = draft.answer(call, answer, Evidence.COMPLETE, direction=_direction(row))
        call = draft.emit("call.ended", call, end.bounds, end.guess, Evidence.COMPLETE, **_facts(row, call))
    call = msgspec.structs.replace(call, ended="complete", ended_seen=window.received, gone=None)
    draft.put(call)
    _remember(draft, row, call)


def _remember(draft: Draft, row: CompletedRow, call: Call) -> None:
    hour, print_ = row.start.earliest // HOUR, fingerprint(row)
    done = Done(call.id, call.sequence, call.ambiguous, *_says(row), call.answered or row.disposition == ANSWERED)
    draft.remember(hour, print_, (*draft.remembered(hour, print_), done))


def _bounds_of_start(row: CompletedRow, mark: Mark) -> _Estimate:
    low, high, guess = mark.skew.local(row.start)
    return _Estimate(Window(low, high), guess)


def _end_of(row: CompletedRow, mark: Mark, window: Window) -> _Estimate:
    """Bounds and best estimate of the end: the row exists, so the call had ended when the answer came."""
    low, high, guess = mark.skew.local(row.end)
    high = min(high, window.received)
    return _Estimate(Window(min(low, high), high), guess)


def _direction(row: CompletedRow) -> Direction | None:
    return _DIRECTIONS.get(row.direction)


def _facts(row: CompletedRow, call: Call) -> dict[str, Any]:
    return {
        "direction": _direction(row),
        "disposition": row.disposition,
        "duration": row.duration,
        "rec_file": row.rec_file,
        # What a live row proved stands, whatever the disposition says.
        "answered": call.answered or row.disposition == ANSWERED,
    }
