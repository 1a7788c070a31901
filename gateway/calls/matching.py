"""One-to-one matching of rows and known calls, and whether it could have gone another way (law 2 of the differ)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

import msgspec


class Matching(msgspec.Struct, frozen=True):
    """`call_of[row]` is the index of the row's call, or None; the flags tell where another matching was as large.

    Rows and calls of different islands have nothing to do with each other: no chain of possible pairs joins them.
    """

    call_of: list[int | None]
    row_ambiguous: list[bool]
    call_ambiguous: list[bool]
    row_island: list[int]
    call_island: list[int]


def match(rows: int, calls: int, distance: Callable[[int, int], int | None], ranks: Sequence[int]) -> Matching:
    """Pair as many of `rows` with `calls` as can be, one to one, the nearest first.

    `distance(row, call)` is None where the two can't be the same call. `ranks`, one a call and ascending, say which
    calls are paired before others: as many of a rank are paired as can be, whatever that costs those of higher ranks.
    The flags know nothing of ranks and distances.
    """
    near = [[d if (d := distance(r, c)) is not None else -1 for c in range(calls)] for r in range(rows)]
    if rows == 1 and calls == 1:
        paired = near[0][0] >= 0
        return Matching([0 if paired else None], [False], [False], [0], [0 if paired else 1])
    row_of: list[int | None] = [None] * calls
    call_of: list[int | None] = [None] * rows
    links = [[r for r in range(rows) if near[r][c] >= 0] for c in range(calls)]
    edges = sorted((ranks[c], near[r][c], r, c) for c in range(calls) for r in links[c])
    for _, group in groupby(edges, key=itemgetter(0)):
        pairs = list(group)
        for _, _, r, c in pairs:
            if call_of[r] is None and row_of[c] is None:
                call_of[r], row_of[c] = c, r
        # Before the next rank takes rows that this one could have.
        for c in sorted({c for _, _, _, c in pairs}):
            if row_of[c] is None:
                _augment(c, links, call_of, row_of)
    return Matching(call_of, *_ambiguity(links, call_of, row_of), *_islands(links, rows))


def _augment(start: int, links: list[list[int]], call_of: list[int | None], row_of: list[int | None]) -> None:
    """Find a row for the call `start`, moving other calls to other rows if need be (breadth first)."""
    came_from: dict[int, int] = {}
    queue = [start]
    for c in queue:
        for r in links[c]:
            if r in came_from:
                continue
            came_from[r] = c
            owner = call_of[r]
            if owner is not None:
                queue.append(owner)
                continue
            free: int | None = r
            while free is not None:
                c2 = came_from[free]
                previous = row_of[c2]
                call_of[free], row_of[c2] = c2, free
                free = previous if c2 != start else None
            return


def _ambiguity(
    links: list[list[int]], call_of: list[int | None], row_of: list[int | None]
) -> tuple[list[bool], list[bool]]:
    """Which rows and calls another matching of the same size would pair differently.

    A pair that was not chosen is in some matching of the same size if it lies on an alternating cycle, or on an even
    alternating path from an unpaired row or call (Berge). Rows point to calls over the pairs not chosen, calls to
    rows over those chosen.
    """
    rows, calls = len(call_of), len(row_of)
    unchosen = [(r, c) for c in range(calls) for r in links[c] if call_of[r] != c]
    forward: list[list[int]] = [[] for _ in range(rows)]  # row -> rows whose call it could take
    for r, c in unchosen:
        taken_from = row_of[c]
        if taken_from is not None:
            forward[r].append(taken_from)
    backward: list[list[int]] = [[] for _ in range(rows)]
    for r, targets in enumerate(forward):
        for target in targets:
            backward[target].append(r)
    from_free_row = _reach([r for r in range(rows) if call_of[r] is None], forward)
    to_free_call = _reach([r for r, c in unchosen if row_of[c] is None], backward)
    component = _components(forward, backward)
    row_flag, call_flag = [False] * rows, [False] * calls
    for r, c in unchosen:
        owner = row_of[c]
        if owner is None or r in from_free_row or owner in to_free_call or component[r] == component[owner]:
            row_flag[r] = call_flag[c] = True
            if owner is not None:
                row_flag[owner] = True
            mine = call_of[r]
            if mine is not None:
                call_flag[mine] = True
    return row_flag, call_flag


def _islands(links: list[list[int]], rows: int) -> tuple[list[int], list[int]]:
    """The number of the island of each row and of each call."""
    calls_of: list[list[int]] = [[] for _ in range(rows)]
    for c, linked in enumerate(links):
        for r in linked:
            calls_of[r].append(c)
    row_island, call_island = [-1] * rows, [-1] * len(links)
    number = 0
    for root in range(len(links)):
        queue = [root] if call_island[root] < 0 else []
        for c in queue:
            if call_island[c] < 0:
                call_island[c] = number
                for r in links[c]:
                    if row_island[r] < 0:
                        row_island[r] = number
                        queue += calls_of[r]
        number += bool(queue)
    for r in range(rows):
        if row_island[r] < 0:
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
