"""One-to-one matching of rows and known calls, and whether it could have gone another way (law 2 of the differ)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from heapq import heappop, heappush

import msgspec

# Dearer than any sum of distances: a pair that should be taken only where no cheaper set of pairs is as large.
LESS_LIKELY = 10**12
# Dearer than any sum of those.
UNLIKELY = 10**18
# Dearer than any sum of those.
_UNPAIRED = 10**27
# How many kinds of rows are looked at, at most, to find a call's: more stand in one chain only where hundreds of calls of
# the same numbers run at once, and there a long chain is not turned over for one more pair.
_SEARCHED = 64


class Kinds(msgspec.Struct, frozen=True):
    """Rows, or calls, sorted into kinds: those of one kind are told apart by nothing, so they are matched together."""

    of: list[int]
    count: list[int]

    def first(self) -> list[int]:
        """One of each kind, by its index."""
        found: dict[int, int] = {}
        for index, kind in enumerate(self.of):
            found.setdefault(kind, index)
        return list(found.values())


def kinds(values: Iterable[Hashable]) -> Kinds:
    """The kinds of `values`: equal ones are of one kind; numbered as they first come."""
    number: dict[Hashable, int] = {}
    of: list[int] = []
    count: list[int] = []
    for value in values:
        kind = number.setdefault(value, len(number))
        if kind == len(count):
            count.append(0)
        count[kind] += 1
        of.append(kind)
    return Kinds(of, count)


class Matching(msgspec.Struct, frozen=True):
    """`call_of[row]` is the index of the row's call, or None; the flags tell where another matching was as large.

    Rows and calls of different islands have nothing to do with each other: no chain of possible pairs joins them.
    """

    call_of: list[int | None]
    row_ambiguous: list[bool]
    call_ambiguous: list[bool]
    row_island: list[int]
    call_island: list[int]


def match(rows: Kinds, calls: Kinds, near: Mapping[tuple[int, int], int], ranks: Sequence[int]) -> Matching:
    """Pair as many of `rows` with `calls` as can be, one to one, so that the distances add up to the least.

    `near` has the distance of each (kind of row, kind of call) that can be the same. `ranks`, one a kind of call, say
    which calls are paired before others: as many of a rank are paired as can be, whatever that costs those of higher
    ranks; but for one call no more than 64 kinds of rows are looked at. The flags know nothing of ranks and
    distances. Takes time by the kinds and their possible pairs, not by how many rows and calls there are.
    """
    flow = _Flow(rows.count, calls.count, near, ranks)
    call_of: list[int | None] = [None] * len(rows.of)
    rows_of: list[list[int]] = [[] for _ in rows.count]
    calls_of: list[list[int]] = [[] for _ in calls.count]
    for r in range(len(rows.of) - 1, -1, -1):
        rows_of[rows.of[r]].append(r)
    for c in range(len(calls.of) - 1, -1, -1):
        calls_of[calls.of[c]].append(c)
    for (row, call), pairs in sorted(flow.paired.items()):
        for _ in range(pairs):
            call_of[rows_of[row].pop()] = calls_of[call].pop()
    row_flag, call_flag = flow.ambiguity()
    row_island, call_island = flow.islands()
    return Matching(
        call_of,
        [row_flag[kind] for kind in rows.of],
        [call_flag[kind] for kind in calls.of],
        [row_island[kind] for kind in rows.of],
        [call_island[kind] for kind in calls.of],
    )


class _Flow:
    """The cheapest assignment of kinds of calls to kinds of rows: shortest augmenting paths with potentials.

    To stay unpaired is open to each call, and the dearer the lower its rank: so the one cheapest assignment holds what
    `match` promises of ranks, of size and of distances.
    """

    def __init__(
        self, rows: list[int], calls: list[int], near: Mapping[tuple[int, int], int], ranks: Sequence[int]
    ) -> None:
        self.rows, self.calls, self.near = rows, calls, near
        self.links: list[list[int]] = [[] for _ in calls]
        for r, c in sorted(near):
            self.links[c].append(r)
        top = max(ranks, default=0)
        self.alone = [_UNPAIRED ** (1 + top - rank) for rank in ranks]
        self.paired: dict[tuple[int, int], int] = {}
        self.takers: list[set[int]] = [set() for _ in rows]  # the kinds of calls that each kind of row is paired with
        self.free = list(rows)
        self.unpaired = [0] * len(calls)
        self._row_price = [0] * len(rows)
        nearest = [min((near[r, c] for r in linked), default=0) for c, linked in enumerate(self.links)]
        self._call_price = list(nearest)
        for c in sorted(range(len(calls)), key=lambda c: (ranks[c], nearest[c], c)):
            left = calls[c]
            while left:
                left -= self._augment(c, left)

    def _augment(self, start: int, want: int) -> int:
        """Settle up to `want` calls of the kind `start` at the least cost, moving others if need be; says how many."""
        done: dict[int, int] = {start: 0}  # kinds of calls that were reached, and at which cost
        through: dict[int, int] = {}  # the kind of row that each of these but the start would leave
        found: dict[int, int] = {}  # kinds of rows
        taker: dict[int, int] = {}  # the kind of call that would take each of these
        heap: list[tuple[int, bool, int]] = []
        best, last = self.alone[start] - self._call_price[start], start
        queue = [start]
        target: int | None = None
        settled: dict[int, int] = {}
        while True:
            for c in queue:
                if done[c] + self.alone[c] - self._call_price[c] < best:
                    best, last = done[c] + self.alone[c] - self._call_price[c], c
                base = done[c] - self._call_price[c]
                for r in self.links[c]:
                    cost = base + self.near[r, c] - self._row_price[r]
                    if cost < found.get(r, best):
                        found[r], taker[r] = cost, c
                        heappush(heap, (cost, not self.free[r], r))
            while heap and heap[0][2] in settled:
                heappop(heap)
            if not heap or heap[0][0] >= best:
                break
            if len(settled) == _SEARCHED:
                free = [(cost, r) for cost, taken, r in heap if not taken and cost == found[r]]
                if free and min(free)[0] < best:
                    best, one = min(free)
                    last, target = taker[one], one
                break
            cost, _, r = heappop(heap)  # of equal ones a free row first, which ends the search
            if self.free[r]:
                best, last, target = cost, taker[r], r
                break
            settled[r] = cost
            queue = [c for c in sorted(self.takers[r]) if c not in done]
            for c in queue:
                done[c], through[c] = cost, r
        for c, cost in done.items():
            self._call_price[c] += best - cost
        for r, cost in settled.items():
            self._row_price[r] -= best - cost
        steps = []
        at = last
        while at != start:
            steps.append((through[at], at, taker[through[at]]))
            at = taker[through[at]]
        amount = min([want, *(self.paired[r, c] for r, c, _ in steps)])
        if target is None:
            self.unpaired[last] += amount
        else:
            amount = min(amount, self.free[target])
            self.free[target] -= amount
            self._pair(target, last, amount)
        for r, loser, winner in steps:
            self._pair(r, loser, -amount)
            self._pair(r, winner, amount)
        return amount

    def _pair(self, r: int, c: int, amount: int) -> None:
        pairs = self.paired.get((r, c), 0) + amount
        if pairs:
            self.paired[r, c] = pairs
            self.takers[r].add(c)
        else:
            del self.paired[r, c]
            self.takers[r].discard(c)

    def ambiguity(self) -> tuple[list[bool], list[bool]]:
        """Which kinds of rows and calls another matching of the same size would pair differently.

        A pair that was not chosen is in some matching of the same size if it lies on an alternating cycle, or on an
        even alternating path from an unpaired row or call (Berge). Rows point to calls over the pairs not chosen, calls
        to rows over those chosen.
        """
        rows = len(self.rows)
        unchosen = [(r, c) for r, c in sorted(self.near) if self.paired.get((r, c), 0) < self.rows[r] * self.calls[c]]
        rows_of: list[list[int]] = [[] for _ in self.calls]
        for r, c in sorted(self.paired):
            rows_of[c].append(r)
        forward: list[list[int]] = [[] for _ in range(rows)]  # row -> rows whose call it could take
        backward: list[list[int]] = [[] for _ in range(rows)]
        for r, c in unchosen:
            for owner in rows_of[c]:
                forward[r].append(owner)
                backward[owner].append(r)
        from_free_row = _reach([r for r in range(rows) if self.free[r]], forward)
        to_free_call = _reach([r for r, c in unchosen if self.unpaired[c]], backward)
        component = _components(forward, backward)
        row_flag, call_flag = [False] * rows, [False] * len(self.calls)
        calls_of: list[list[int]] = [[] for _ in range(rows)]
        for r, c in self.paired:
            calls_of[r].append(c)
        for r, c in unchosen:
            owners = [
                owner
                for owner in rows_of[c]
                if r in from_free_row or owner in to_free_call or component[r] == component[owner]
            ]
            if owners or self.unpaired[c]:
                row_flag[r] = call_flag[c] = True
                for owner in owners:
                    row_flag[owner] = True
                for mine in calls_of[r]:
                    call_flag[mine] = True
        return row_flag, call_flag

    def islands(self) -> tuple[list[int], list[int]]:
        """The number of the island of each kind of row and of call."""
        calls_of: list[list[int]] = [[] for _ in self.rows]
        for c, linked in enumerate(self.links):
            for r in linked:
                calls_of[r].append(c)
        row_island, call_island = [-1] * len(self.rows), [-1] * len(self.calls)
        number = 0
        for root in range(len(self.links)):
            queue = [root] if call_island[root] < 0 else []
            for c in queue:
                if call_island[c] < 0:
                    call_island[c] = number
                    for r in self.links[c]:
                        if row_island[r] < 0:
                            row_island[r] = number
                            queue += calls_of[r]
            number += bool(queue)
        for r, island in enumerate(row_island):
            if island < 0:
                row_island[r] = number
                number += 1
        return row_island, call_island


def _reach(starts: list[int], edges: list[list[int]]) -> set[int]:
    seen = set(starts)
    queue = list(seen)
    for node in queue:
        for target in edges[node]:
            if target not in seen:
                seen.add(target)
                queue.append(target)
    return seen


def _components(forward: list[list[int]], backward: list[list[int]]) -> list[int]:
    """The strongly connected component of every row (Kosaraju)."""
    order: list[int] = []
    seen: set[int] = set()
    for root in range(len(forward)):
        stack = [(root, 0)] if root not in seen else []
        seen.add(root)
        while stack:
            node, at = stack.pop()
            if at < len(forward[node]):
                stack.append((node, at + 1))
                target = forward[node][at]
                if target not in seen:
                    seen.add(target)
                    stack.append((target, 0))
            else:
                order.append(node)
    component = [-1] * len(forward)
    for number, root in enumerate(reversed(order)):
        queue = [root] if component[root] < 0 else []
        for node in queue:
            if component[node] < 0:
                component[node] = number
                queue.extend(t for t in backward[node] if component[t] < 0)
    return component
