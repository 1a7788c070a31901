"""Which new completed row ends which known call of the same numbers, which begins a life, and which must wait."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from gateway.calls.doubt import Doubts, Span
from gateway.calls.draft import Draft
from gateway.calls.fit import blurred, confused, cut_off, gap, mistaken, nearby, off, span
from gateway.calls.instants import Estimate, Life, lives_of, merged
from gateway.calls.matching import LESS_LIKELY, UNLIKELY, Matching, kinds, match
from gateway.calls.snapshots import CompletedRow, Window
from gateway.calls.state import Call, Given, Mark
from gateway.contract.times import Ms

ANSWERED = "ANSWERED"


class Ending(msgspec.Struct, frozen=True):
    """A row and what is to become of it: `call` ends by it (None: its call was never seen), unless it `waits`."""

    row: CompletedRow
    life: Life
    call: Call | None
    ambiguous: bool
    waits: bool
    given: Given | None  # what of the row is to be remembered of its call; None where it is surely this one's


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
        self.lives = [lives_of(row, mark, window) for row in rows]
        self.now = window
        self.last = draft.state.mark.active
        readings = [one for one in (self.last, draft.state.mark.before) if one is not None]
        haunted = [call.start for call in known if call.haunted]
        self.listed = [
            all(
                any(life.start.bounds.received <= one.sent and one.received <= life.end.bounds.sent for one in readings)
                and not any(gap(life.start.bounds, other) <= self.tolerance for other in haunted)
                for life in lives
            )
            for lives in self.lives
        ]
        self.late = [window.sent > lives[-1].end.bounds.received + draft.rules.absence_grace for lives in self.lives]
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
        calls = self._mixed(blurred(self.calls, confusable, paired.call_island), confusable, paired)
        for r, c in self._contradicting(call_of, waits, kept):
            if self.listed[r] or self.late[r]:
                call_of[r] = c
            else:
                waits[r] = kept[c] = True
        for r, c in self._taken_for_another(call_of, waits):
            waits[r] = kept[c] = True
        for r, c in self._mistaken(call_of, waits, kept):
            call_of[r], calls[c] = c, confused(calls[c], self._life(r, c).start.bounds)
        self.draft.put_changed(calls)
        lives = [
            _begun(merged(self.lives[r])) if index is None else self._life(r, index) for r, index in enumerate(call_of)
        ]
        lives = self._blurred(lives, paired, waits)
        doubts = Doubts(self.draft.known((self.rows[0].src, self.rows[0].dst)), self.now.received, self.tolerance)
        confusable = [
            index is None and not waits[r] and self._confusable(r, lives, doubts) for r, index in enumerate(call_of)
        ]
        doubtful = self._doubtful(call_of, waits, doubts)
        found = []
        for r, row in enumerate(self.rows):
            index = call_of[r]
            call = None if index is None else self.draft.calls[calls[index].id]
            ambiguous = paired.row_ambiguous[r] or strained[r] or confusable[r]
            given = self._given(r, self.calls[index]) if index is not None and r in doubtful else None
            found.append(Ending(row, lives[r], call, ambiguous, waits[r], given))
        return found, [call for call, stays in zip(calls, kept, strict=True) if stays]

    def _mixed(self, calls: list[Call], flags: list[bool], paired: Matching) -> list[Call]:
        """The calls; those that are left over may have ended by a row that another was given."""
        since: dict[int, Ms] = {}
        taken = {c for c in paired.call_of if c is not None}
        islands = {paired.call_island[c] for c in taken if flags[c]}
        for c, call in enumerate(self.calls):
            island = paired.call_island[c]
            if flags[c] and island in islands:
                sent = self._end_of_call(call).sent
                since[island] = min(since.get(island, sent), sent)
        return [
            msgspec.structs.replace(call, mixed=min(call.mixed or since[island], since[island]))
            if flags[c] and island in islands and c not in taken and call.ended is None
            else call
            for c, (call, island) in enumerate(zip(calls, paired.call_island, strict=True))
        ]

    def _blurred(self, lives: list[Life], paired: Matching, waits: list[bool]) -> list[Life]:
        """The lives, where those of an island's rows that may each be of any of its calls have the bounds of them all.

        Not where nothing was told of these calls that is not true of each.
        """
        called: dict[int, set[tuple[Window, bool]]] = defaultdict(set)
        for call, flag, island in zip(self.calls, paired.call_ambiguous, paired.call_island, strict=True):
            if flag:
                called[island].add((call.start, call.answered))
        mixed: dict[int, list[Life]] = defaultdict(list)
        for r, (life, flag, island) in enumerate(zip(lives, paired.row_ambiguous, paired.row_island, strict=True)):
            if flag and not waits[r]:
                mixed[island].append(life)
                if paired.call_of[r] is None:
                    called[island].add((life.start.bounds, False))
        whole = {island: merged(these) for island, these in mixed.items() if len(called[island]) > 1}
        return [
            merged((whole[island], life)) if flag and not waits[r] and island in whole else life
            for r, (life, flag, island) in enumerate(zip(lives, paired.row_ambiguous, paired.row_island, strict=True))
        ]

    def _end_of_call(self, call: Call) -> Window:
        """Bounds of the call's end, by the active list: it was seen after the first and may have ended until the second."""
        if call.left is not None:
            return Window(call.left.sent, max(self.now.received, call.left.received)) if call.hidden else call.left
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
            (
                *(bounds for life in lives for bounds in (life.start.bounds, life.end.bounds)),
                row.disposition == ANSWERED,
                listed,
            )
            for row, lives, listed in zip(self.rows, self.lives, self.listed, strict=True)
        )
        call_kinds = kinds(
            (call.start, call.gone, call.answered, call.ended, call.unlisted, call.hidden) for call in self.calls
        )
        first_row, first_call = row_kinds.first(), call_kinds.first()
        meant = [(r, life) for r, row in enumerate(first_row) for life in self.lives[row]]
        near: dict[tuple[int, int], Ms] = {}
        fitting: list[list[int]] = [[] for _ in first_row]
        starts, known = [life.start.bounds for _, life in meant], [self.calls[c].start for c in first_call]
        for m, c in nearby(starts, known, self.tolerance):
            (r, life), call = meant[m], self.calls[first_call[c]]
            row, bounds = first_row[r], life.end.bounds
            if gap(bounds, self._end_of_call(call)) > self.tolerance:
                continue
            far = off(life.start.guess, cut_off(call.start)) + (off(life.end.guess, call.gone) if call.gone else 0)
            answered = self.rows[row].disposition == ANSWERED
            if call.answered and not answered:
                self.contrary[r, c] = min(far, self.contrary.get((r, c), far))
                continue
            far += (LESS_LIKELY if answered and not call.answered else 0) + (0 if self.listed[row] else UNLIKELY)
            if (r, c) not in near:
                fitting[r].append(first_call[c])
            near[r, c] = min(far, near.get((r, c), far))
        self.fitting = [fitting[kind] for kind in row_kinds.of]
        self._kinds = row_kinds.of, call_kinds.of
        return match(row_kinds, call_kinds, near, [_rank(self.calls[c]) for c in first_call])

    def _confusable(self, r: int, lives: list[Life], doubts: Doubts) -> bool:
        """Whether the row, which no call is left for, may be that of one that another row ended before, or that the lists
        showed before another: either may be the known call, the other was never told of. The known call is marked so
        too, and the row's may have begun when that one did, or when the other row says."""
        found = doubts.of(self._spans(r))
        start = lives[r].start
        for call in found:
            self.draft.put(msgspec.structs.replace(self.draft.calls[call.id], ambiguous=True))
            start = Estimate(span(start.bounds, call.start), start.guess)
            if call.given is not None:
                start = Estimate(span(start.bounds, call.given.start), start.guess)
        lives[r] = Life(start, lives[r].end)
        return bool(found)

    def _spans(self, r: int) -> list[Span]:
        return [(life.start.bounds, life.end.bounds) for life in self.lives[r]]

    def _doubtful(self, call_of: list[int | None], waits: list[bool], doubts: Doubts) -> set[int]:
        """The rows that may turn out to be of another call than they are given to: they need not be of a known call, or
        they may be of a call whose row need not, or is yet to come and may be such a one as the call is young."""
        before, kind_of = self.draft.state.mark.before, self._kinds[1]
        given = {r: c for r, c in enumerate(call_of) if c is not None and not waits[r]}
        rest = set(range(len(self.calls))).difference(given.values())
        open_ = {kind_of[c] for c in rest if before is None or self.calls[c].start.received > before.sent}
        found = {r for r in given if not self.listed[r] or doubts.of(self._spans(r))}
        open_ |= {kind_of[given[r]] for r in found}
        while more := [r for r in given if r not in found and any(kind_of[c] in open_ for c in self.fitting[r])]:
            found.update(more)
            open_ |= {kind_of[given[r]] for r in more}
        return found

    def _given(self, r: int, call: Call) -> Given:
        life = merged(self.lives[r])
        return Given(life.start.bounds, life.end.bounds, self._end_of_call(call).sent, self.listed[r])

    def _meets(self, r: int, call: Call, end: Window) -> bool:
        return any(
            gap(life.start.bounds, call.start) <= self.tolerance and gap(life.end.bounds, end) <= self.tolerance
            for life in self.lives[r]
        )

    def _life(self, r: int, c: int) -> Life:
        """What the row means, if it is of this call: what is nearest to what is known of it, where nothing fits."""
        call, lives = self.calls[c], self.lives[r]
        end = self._end_of_call(call)

        def apart(life: Life) -> tuple[Ms, Ms]:
            return max(0, gap(life.end.bounds, end)), max(0, gap(life.start.bounds, call.start))

        least = min(map(apart, lives))
        return merged([life for life in lives if apart(life) == least])

    def _strained(self, r: int, c: int) -> bool:
        """Whether the pair fits by tolerance alone."""
        call, life = self.calls[c], self._life(r, c)
        return gap(life.start.bounds, call.start) > 0 or gap(life.end.bounds, self._end_of_call(call)) > 0

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
                and not any(gap(life.start.bounds, one) <= self.tolerance for one in haunted for life in self.lives[r])
            ):
                rows.remove(r)
                calls.remove(c)
                yield r, c

    def _taken_for_another(self, call_of: list[int | None], waits: list[bool]) -> list[tuple[int, int]]:
        """The pairs left over of a call that seems to go on, where what the last list showed may have been another that
        has ended since: a list asked for after that other's end was seen will tell."""
        ends = [call.ended_seen for call in self.draft.known((self.rows[0].src, self.rows[0].dst)) if call.ended]
        if self.last is not None and self.last.sent >= max(ends, default=0):
            return []

        def far(r: int, c: int) -> Ms | None:
            call = self.calls[c]
            if waits[r] or self.late[r] or not call.mixed or call.gone is not None or call.ended is not None:
                return None
            if call.answered and self.rows[r].disposition != ANSWERED:
                return None
            meets = self._meets(r, call, Window(call.mixed, self.now.received))
            return off(self._life(r, c).start.guess, cut_off(call.start)) if meets else None

        return mistaken(call_of, len(self.calls), far)

    def _mistaken(self, call_of: list[int | None], waits: list[bool], kept: list[bool]) -> list[tuple[int, int]]:
        """The rows left over that must be one of the calls left over; not those that wait for the next active list."""

        def far(r: int, c: int) -> Ms | None:
            call = self.calls[c]
            if waits[r] or kept[c] or call.unlisted or not self.listed[r]:
                return None
            life = self._life(r, c)
            if gap(life.end.bounds, self._end_of_call(call)) > self.tolerance:
                return None
            contradicts = call.answered and self.rows[r].disposition != ANSWERED
            return off(life.start.guess, cut_off(call.start)) + (UNLIKELY if contradicts else 0)

        return mistaken(call_of, len(self.calls), far)


def _begun(life: Life) -> Life:
    """The life, begun before it ended."""
    bounds, high = life.start.bounds, min(life.start.bounds.received, life.end.bounds.received)
    return Life(Estimate(Window(min(bounds.sent, high), high), life.start.guess), life.end)


def _rank(call: Call) -> int:
    """Calls that left the active list ended first, so their rows are listed first."""
    return int(call.gone is None)
