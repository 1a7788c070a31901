"""Which new completed row ends which known call of the same numbers, which begins a life, and which must wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gateway.calls.draft import Draft
from gateway.calls.fit import blurred, confused, distance, gap, mistaken, nearby
from gateway.calls.matching import LESS_LIKELY, UNLIKELY, Matching, kinds, match
from gateway.calls.snapshots import CompletedRow, Window
from gateway.calls.state import Call, Mark
from gateway.contract.times import Ms

ANSWERED = "ANSWERED"


class Estimate(msgspec.Struct, frozen=True):
    """Bounds of a moment, gateway clock, and the best guess within them."""

    bounds: Window
    guess: Ms


class Ending(msgspec.Struct, frozen=True):
    """A row and what is to become of it: `call` ends by it (None: its call was never seen), unless it `waits`."""

    row: CompletedRow
    start: Estimate
    end: Estimate
    call: Call | None
    ambiguous: bool
    waits: bool
    proven: bool  # an active list must have shown the row's call, so it is of one that is known


def endings(draft: Draft, rows: Sequence[CompletedRow], mark: Mark, window: Window) -> tuple[list[Ending], list[Call]]:
    """What becomes of these new rows of the same numbers, in order; and the calls that rows which wait may end.

    The calls that could not be told apart are put into the draft, marked so.
    """
    return _Fit(draft, rows, mark, window).found()


class _Fit:
    def __init__(self, draft: Draft, rows: Sequence[CompletedRow], mark: Mark, window: Window) -> None:
        self.draft = draft
        self.tolerance = draft.rules.tolerance
        self.rows = rows
        known = draft.known((rows[0].src, rows[0].dst))
        self.calls = sorted((call for call in known if call.ended != "complete"), key=_rank)
        self.starts = [start_of(row, mark) for row in rows]
        self.ends = [end_of(row, mark, window) for row in rows]
        self.now = window
        self.last = draft.state.mark.active
        readings = [one for one in (self.last, draft.state.mark.before) if one is not None]
        haunted = [call.start for call in known if call.haunted]
        self.listed = [
            any(start.bounds.received <= one.sent and one.received <= end.bounds.sent for one in readings)
            and not any(gap(start.bounds, other) <= self.tolerance for other in haunted)
            for start, end in zip(self.starts, self.ends, strict=True)
        ]
        self.late = [window.sent > end.bounds.received + draft.rules.absence_grace for end in self.ends]
        self.fitting: list[list[int]] = [[] for _ in rows]  # the calls that each row may end
        self.contrary: dict[tuple[int, int], Ms] = {}  # pairs that only the call's answer speaks against

    def found(self) -> tuple[list[Ending], list[Call]]:
        paired = self._paired()
        call_of = list(paired.call_of)
        strained = [c is not None and self._strained(r, c) for r, c in enumerate(call_of)]
        early = {
            paired.row_island[r]
            for r, c in enumerate(call_of)
            if c is not None and self._early(r, c, ambiguous=paired.row_ambiguous[r])
        }
        waits = [island in early for island in paired.row_island]
        kept = [island in early for island in paired.call_island]
        confusable = [flag and not stays for flag, stays in zip(paired.call_ambiguous, kept, strict=True)]
        calls = blurred(self.calls, confusable, paired.call_island)
        for r, c in self._contradicting(call_of, waits, kept):
            if self.listed[r] or self.late[r]:
                call_of[r] = c
            else:
                waits[r] = kept[c] = True
        for r, c in self._mistaken(call_of, waits, kept):
            call_of[r], calls[c] = c, confused(calls[c], self.starts[r].bounds)
        self.draft.put_changed(calls)
        found = []
        for r, row in enumerate(self.rows):
            index = call_of[r]
            call = None if index is None else calls[index]
            ambiguous = paired.row_ambiguous[r] or strained[r] or (call is None and self._confusable(r))
            found.append(Ending(row, self.starts[r], self.ends[r], call, ambiguous, waits[r], self.listed[r]))
        return found, [call for call, stays in zip(calls, kept, strict=True) if stays]

    def _end_of_call(self, call: Call) -> Window:
        """Bounds of the call's end, by the active list: it was seen after the first and may have ended until the second."""
        if call.gone is not None:
            return Window(call.gone.sent, max(self.now.received, call.gone.received)) if call.hidden else call.gone
        seen = call.start.sent if self.last is None or call.unlisted else max(self.last.sent, call.start.sent)
        return Window(min(seen, self.now.received), self.now.received)

    def _paired(self) -> Matching:
        """Rows over calls, those that left the list first.

        A row says of its call whether it was answered. So one that was not answered is of no call that was told to be,
        and one that was is of such a call, if there is one: whichever of the calls that can't be told apart it is given
        to, no more of them are told answered than were. A row that an active list must have had is surely of a call
        that is known, so it goes before one that may be another's.
        """
        row_kinds = kinds(
            (start.bounds, end.bounds, row.disposition == ANSWERED, listed)
            for row, start, end, listed in zip(self.rows, self.starts, self.ends, self.listed, strict=True)
        )
        call_kinds = kinds(
            (call.start, call.gone, call.answered, call.ended, call.unlisted, call.hidden) for call in self.calls
        )
        first_row, first_call = row_kinds.first(), call_kinds.first()
        starts = [self.starts[r].bounds for r in first_row]
        near: dict[tuple[int, int], Ms] = {}
        fitting: list[list[int]] = [[] for _ in first_row]
        for r, c in nearby(starts, [self.calls[c].start for c in first_call], self.tolerance):
            row, call = first_row[r], self.calls[first_call[c]]
            bounds, end = self.ends[row].bounds, self._end_of_call(call)
            if gap(bounds, end) > self.tolerance:
                continue
            far = distance(starts[r], call.start) + (distance(bounds, call.gone) if call.gone else 0)
            answered = self.rows[row].disposition == ANSWERED
            if call.answered and not answered:
                self.contrary[r, c] = far
                continue
            doubt = LESS_LIKELY if answered and not call.answered else 0
            near[r, c] = far + doubt + (0 if self.listed[row] else UNLIKELY)
            fitting[r].append(first_call[c])
        self.fitting = [fitting[kind] for kind in row_kinds.of]
        self._kinds = row_kinds.of, call_kinds.of
        return match(row_kinds, call_kinds, near, [_rank(self.calls[c]) for c in first_call])

    def _confusable(self, r: int) -> bool:
        """Whether the row, which no call is left for, may be that of one that another row ended before: of the two rows
        either may be the known call's, the other a call's that was never seen. The known call is marked so too."""
        found = False
        for call in self.draft.known((self.rows[r].src, self.rows[r].dst)):
            if call.ended != "complete" or call.gone is None or gap(self.starts[r].bounds, call.start) > self.tolerance:
                continue
            if gap(self.ends[r].bounds, call.gone) <= self.tolerance:
                found = True
                self.draft.put(msgspec.structs.replace(call, ambiguous=True))
        return found

    def _strained(self, r: int, c: int) -> bool:
        """Whether the pair fits by tolerance alone."""
        call = self.calls[c]
        return gap(self.starts[r].bounds, call.start) > 0 or gap(self.ends[r].bounds, self._end_of_call(call)) > 0

    def _early(self, r: int, c: int, *, ambiguous: bool) -> bool:
        """Whether the next active list will tell if this row ends this call, or another of the same numbers.

        A row is surely of a known call only if an active list that was read well would have shown it; until a call
        has left the list, a row too short to have been in one may be another call's.
        """
        if self.late[r]:
            return False
        call = self.calls[c]
        if ambiguous and any(
            self.calls[other].gone is None and self.calls[other].answered != call.answered for other in self.fitting[r]
        ):
            return True
        return call.gone is None and not self.listed[r]

    def _left(self, call_of: list[int | None], waits: list[bool], kept: list[bool]) -> tuple[list[int], set[int]]:
        rows = [r for r, c in enumerate(call_of) if c is None and not waits[r]]
        return rows, {c for c, stays in enumerate(kept) if not stays}.difference(c for c in call_of if c is not None)

    def _contradicting(
        self, call_of: list[int | None], waits: list[bool], kept: list[bool]
    ) -> Iterator[tuple[int, int]]:
        """The pairs left over that only the call's answer speaks against: its live status was wrong, or the row is of
        another call and its own is yet to come."""
        if not self.contrary:
            return
        rows, calls = self._left(call_of, waits, kept)
        row_kind, call_kind = self._kinds
        haunted = [call.start for call in self.draft.known((self.rows[0].src, self.rows[0].dst)) if call.haunted]
        fits = sorted(
            (not self.listed[r], far, r, c)
            for r in rows
            for c in calls
            if (far := self.contrary.get((row_kind[r], call_kind[c]))) is not None
        )
        for _, _, r, c in fits:
            if (
                r in rows
                and c in calls
                and not any(gap(self.starts[r].bounds, one) <= self.tolerance for one in haunted)
            ):
                rows.remove(r)
                calls.remove(c)
                yield r, c

    def _mistaken(self, call_of: list[int | None], waits: list[bool], kept: list[bool]) -> list[tuple[int, int]]:
        """The rows left over that must be one of the calls left over; not those that wait for the next active list."""

        def far(r: int, c: int) -> Ms | None:
            call = self.calls[c]
            if waits[r] or kept[c] or call.unlisted or not self.listed[r]:
                return None
            if gap(self.ends[r].bounds, self._end_of_call(call)) > self.tolerance:
                return None
            contradicts = call.answered and self.rows[r].disposition != ANSWERED
            return distance(self.starts[r].bounds, call.start) + (UNLIKELY if contradicts else 0)

        return mistaken(call_of, len(self.calls), far)


def _rank(call: Call) -> int:
    """Calls that left the active list ended first, so their rows are listed first."""
    return int(call.gone is None)


def start_of(row: CompletedRow, mark: Mark) -> Estimate:
    """When the row's call began."""
    low, high, guess = mark.skew.local(row.start)
    return Estimate(Window(low, high), guess)


def end_of(row: CompletedRow, mark: Mark, window: Window) -> Estimate:
    """When the row's call ended: the row exists, so it had ended when the answer came."""
    low, high, guess = mark.skew.local(row.end)
    high = min(high, window.received)
    return Estimate(Window(min(low, high), high), guess)
