"""The list of completed calls: ends, whole lives of calls never seen active, and corrections."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from typing import Any

import msgspec

from gateway.calls.draft import Draft
from gateway.calls.ending import ANSWERED, Ending, endings
from gateway.calls.fit import span
from gateway.calls.instants import lives_of, merged
from gateway.calls.memory import HOUR, Done, Slices, fingerprint, holds, key_of, says, slice_of
from gateway.calls.snapshots import CompletedRow, CompletedRows, Window
from gateway.calls.state import REMEMBERED_HOURS, Call, Mark, Numbers
from gateway.contract.events import Direction, Evidence
from gateway.contract.times import Ms

# What may be corrected of an ended call, in the order of `says`. `time` is that of its end.
_CORRECTABLE = ("time", "duration", "disposition", "rec_file")
_DIRECTIONS: dict[str, Direction] = {"incoming": "incoming", "outgoing": "outgoing", "internal": "internal"}


def completed_rows(draft: Draft, rows: CompletedRows, mark: Mark, window: Window) -> None:
    fresh: dict[Numbers, list[CompletedRow]] = defaultdict(list)
    hashes = array("q", map(hash, rows))
    for (hour, print_), group in _unsettled(draft, _changed(draft, rows, hashes)).items():
        known = draft.remembered(hour, print_)
        for row in _reconcile(draft, hour, print_, known, group, mark, window):
            fresh[row.src, row.dst].append(row)
    for group in sorted(fresh.values(), key=lambda group: min(_order(row) for row in group)):
        group.sort(key=_order)
        _complete(draft, group, mark, window)
    draft.listed = array("q", (one for one in hashes if one not in draft.waiting)) if draft.waiting else hashes
    last = draft.state.mark.completed
    if last is None or last.received // HOUR != window.received // HOUR:
        listed = {row.start.earliest // HOUR for row in rows}
        draft.forget_hours(window.received // HOUR - REMEMBERED_HOURS, listed=listed)


def _changed(draft: Draft, rows: CompletedRows, hashes: array[int]) -> CompletedRows:
    """The rows that the last answer did not have, and those that may be of their fingerprints. Nearly all rows of a list
    are as they were, so this is the differ's busiest loop."""
    known = set(draft.state.listed)
    if not known:
        return rows
    if len(set(hashes)) < len(hashes):
        # How often the last answer had a row is not remembered.
        known -= {one for one, times in Counter(hashes).items() if times > 1}
    changed = [row for one, row in zip(hashes, rows, strict=True) if one not in known]
    callers = {row.src for row in changed}
    begun = {row.start.earliest for row in changed}
    return [row for row in rows if row.src in callers and row.start.earliest in begun]


def _unsettled(draft: Draft, rows: CompletedRows) -> dict[tuple[int, int], list[CompletedRow]]:
    """By hour and fingerprint, the rows of those fingerprints that are not one row that says what it said before."""
    slices_of: dict[int, Slices] = {}
    prints: list[tuple[int, int]] = []
    settled: set[tuple[int, int]] = set()
    unsettled: set[tuple[int, int]] = set()
    for row in rows:
        hour = row.start.earliest // HOUR
        print_ = fingerprint(row)
        slices = slices_of.get(hour)
        if slices is None:
            slices = slices_of[hour] = draft.slices(hour)
        kept = slices.get(slice_of(slices, print_), b"")
        here = hour, print_
        prints.append(here)
        if here not in settled and holds(kept, key_of(print_, says(row))):
            settled.add(here)
        else:
            unsettled.add(here)
    groups: dict[tuple[int, int], list[CompletedRow]] = defaultdict(list)
    if unsettled:
        for here, row in zip(prints, rows, strict=True):
            if here in unsettled:
                groups[here].append(row)
    return groups


def _order(row: CompletedRow) -> tuple[Ms, Ms, str, str]:
    return row.start.earliest, row.end.earliest, row.src, row.dst


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
        same = next((row for row in left if says(row) == done.says), None)
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
    return tuple(field for field, old, new in zip(_CORRECTABLE, done.says, says(row), strict=True) if old != new)


def _update(draft: Draft, done: Done, row: CompletedRow, mark: Mark, window: Window) -> Done:
    sequence, ambiguous = done.sequence, done.ambiguous
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
        end = merged(lives_of(row, mark, window)).end
        facts = _facts(row, call)
        call = draft.emit(
            "call.updated", call, end.bounds, end.guess, Evidence.COMPLETE, **facts, changed=_changes(done, row)
        )
        sequence, ambiguous = call.sequence, call.ambiguous
        if done.call_id in draft.calls:
            draft.put(call)
    return Done(done.call_id, sequence, ambiguous, says(row), done.answered or row.disposition == ANSWERED)


def _complete(draft: Draft, rows: list[CompletedRow], mark: Mark, window: Window) -> None:
    """Give each of these new rows of the same numbers to the call that it ends, or a whole life."""
    found, awaited = endings(draft, rows, mark, window)
    draft.awaited.update(call.id for call in awaited)
    for one in found:
        if one.waits:
            draft.deferred = True
            draft.waiting.add(hash(one.row))
            continue
        call = one.call
        if call is not None:
            call = msgspec.structs.replace(call, ambiguous=call.ambiguous or one.ambiguous)
        elif one.life.end.bounds.received < mark.since:
            _remember(draft, one.row, Call("", one.row.src, one.row.dst, one.life.start.bounds, 0, 0))
            continue
        else:
            call = _begin(draft, one)
        _end(draft, call, one, window)


def _begin(draft: Draft, one: Ending) -> Call:
    row, start, bounds = one.row, one.life.start, one.life.start.bounds
    call = Call(
        id=draft.new_id("complete", row.src, row.dst),
        src=row.src,
        dst=row.dst,
        start=bounds,
        sequence=0,
        time=bounds.sent,
        ambiguous=one.ambiguous,
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


def _end(draft: Draft, call: Call, one: Ending, window: Window) -> None:
    row, end = one.row, one.life.end
    if call.ended == "absence":
        changed = _CORRECTABLE if row.rec_file is not None else _CORRECTABLE[:-1]
        call = draft.emit(
            "call.updated", call, end.bounds, end.guess, Evidence.COMPLETE, **_facts(row, call), changed=changed
        )
    else:
        if row.disposition == ANSWERED and not call.answered:
            call = _answer(draft, call, one, window)
        call = draft.emit("call.ended", call, end.bounds, end.guess, Evidence.COMPLETE, **_facts(row, call))
    gone = None if one.given is None else call.gone
    # If the row is another call's, one that was never told of, that one began when the row says.
    own = one.given is None or one.given.listed or gone is None
    start = call.start if own else span(call.start, one.life.start.bounds)
    call = msgspec.structs.replace(
        call, start=start, ended="complete", ended_seen=window.received, gone=gone, given=one.given
    )
    draft.put(call)
    _remember(draft, row, call)


def _answer(draft: Draft, call: Call, one: Ending, window: Window) -> Call:
    """Its answer came before the row's end; that of a call which it can't be told apart from, before now."""
    high = one.life.end.bounds.received
    low = min(call.start.sent, high)
    bounds = Window(low, window.received if call.ambiguous else high)
    return draft.answer(call, bounds, Evidence.COMPLETE, guess=(low + high) // 2, direction=_direction(one.row))


def _remember(draft: Draft, row: CompletedRow, call: Call) -> None:
    hour, print_ = row.start.earliest // HOUR, fingerprint(row)
    done = Done(call.id, call.sequence, call.ambiguous, says(row), call.answered or row.disposition == ANSWERED)
    draft.remember(hour, print_, (*draft.remembered(hour, print_), done))


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
