"""Matching against brute force: every matching of small lists is tried."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.calls.fit import blurred, mistaken
from gateway.calls.matching import Matching, kinds, match
from gateway.calls.snapshots import Window
from gateway.calls.state import Call

# Of each row the call that it is paired with.
Pairing = tuple[int | None, ...]


class Case(msgspec.Struct, frozen=True):
    """`near[row][call]` is the distance, None where the two can't be the same; `ranks` ascend."""

    near: list[list[int | None]]
    ranks: list[int]

    def matched(self) -> Matching:
        """The matching, with rows, or calls, of the same distances as one kind."""
        column = [tuple(far[c] for far in self.near) for c in range(len(self.ranks))]
        rows = kinds((tuple(far), r if set(far) <= {None} else -1) for r, far in enumerate(self.near))
        calls = kinds(
            (rank, far, c if set(far) <= {None} else -1)
            for c, (rank, far) in enumerate(zip(self.ranks, column, strict=True))
        )
        near = {
            (rows.of[r], calls.of[c]): far
            for r, distances in enumerate(self.near)
            for c, far in enumerate(distances)
            if far is not None
        }
        ranks = dict(zip(calls.of, self.ranks, strict=True))
        return match(rows, calls, near, [ranks[kind] for kind in range(len(calls.count))])

    def cost(self, pairing: Pairing) -> int:
        """The sum of the distances."""
        return sum(self.near[row][call] or 0 for row, call in enumerate(pairing) if call is not None)

    def by_rank(self, pairing: Pairing) -> tuple[int, ...]:
        """How many calls of each rank are paired."""
        return tuple(sum(call is not None and self.ranks[call] == rank for call in pairing) for rank in range(3))

    def pairings(self, calls: set[int] | None = None) -> Iterator[Pairing]:
        """Every one-to-one pairing of rows with these calls (all of them by default)."""
        allowed = set(range(len(self.ranks))) if calls is None else calls

        def rest(row: int, free: set[int]) -> Iterator[Pairing]:
            if row == len(self.near):
                yield ()
                return
            for after in rest(row + 1, free):
                yield (None, *after)
            for call in free:
                if self.near[row][call] is not None:
                    for after in rest(row + 1, free - {call}):
                        yield (call, *after)

        return rest(0, allowed)

    def largest(self, calls: set[int] | None = None) -> int:
        """How many pairs there can be at most."""
        return max(size(pairing) for pairing in self.pairings(calls))


def size(pairing: Pairing) -> int:
    return sum(call is not None for call in pairing)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rows, calls = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    distance = st.none() | st.integers(0, 3)
    near = draw(st.lists(st.lists(distance, min_size=calls, max_size=calls), min_size=rows, max_size=rows))
    return Case(near, sorted(draw(st.lists(st.integers(0, 2), min_size=calls, max_size=calls))))


# The call of the higher rank must not take the row that the second of the lower rank needs.
GREEDY_IS_NOT_ENOUGH = Case([[0, 0, None], [1, None, 0]], [0, 0, 1])


@given(cases())
def test_pairs_are_one_to_one_and_possible(case: Case) -> None:
    paired = case.matched().call_of
    assert tuple(paired) in set(case.pairings())


@settings(max_examples=300)
@given(cases())
@example(GREEDY_IS_NOT_ENOUGH)
def test_as_many_are_paired_as_can_be(case: Case) -> None:
    paired = case.matched().call_of
    assert size(tuple(paired)) == case.largest()


@settings(max_examples=300)
@given(cases())
@example(GREEDY_IS_NOT_ENOUGH)
def test_calls_of_a_lower_rank_are_never_given_up(case: Case) -> None:
    paired = case.matched().call_of
    for rank in range(3):
        calls = {call for call, its in enumerate(case.ranks) if its <= rank}
        assert sum(call in calls for call in paired) == case.largest(calls)


@settings(max_examples=300)
@given(cases())
def test_the_flags_are_what_every_other_matching_of_that_size_says(case: Case) -> None:
    matching = case.matched()
    most = case.largest()
    all_largest = [pairing for pairing in case.pairings() if size(pairing) == most]
    for row, flag in enumerate(matching.row_ambiguous):
        assert flag == (len({pairing[row] for pairing in all_largest}) > 1)
    for call, flag in enumerate(matching.call_ambiguous):
        rows = {pairing.index(call) if call in pairing else None for pairing in all_largest}
        assert flag == (len(rows) > 1)


@settings(max_examples=300)
@given(cases())
@example(Case([[0, 1], [2, 9]], [0, 0]))
def test_the_distances_add_up_to_the_least(case: Case) -> None:
    paired = tuple(case.matched().call_of)
    best = max(case.by_rank(pairing) for pairing in case.pairings())
    assert case.by_rank(paired) == best
    assert case.cost(paired) == min(case.cost(other) for other in case.pairings() if case.by_rank(other) == best)


@given(cases())
def test_the_same_case_is_paired_the_same_way(case: Case) -> None:
    first, again = (case.matched() for _ in range(2))
    assert first == again


def test_a_long_chain_is_turned_over_to_its_end() -> None:
    """Row n fits calls n and n + 1, and only the last call is free: every pair has to move."""
    many = 60
    near = {(n, n): 1 for n in range(many)} | {(n, n + 1): 0 for n in range(many - 1)}
    each = kinds(range(many))
    matching = match(each, each, near, [0] * many)
    assert matching.call_of == list(range(many))
    assert not any(matching.row_ambiguous)


def test_thousands_that_nothing_tells_apart_are_matched_as_one() -> None:
    rows, calls = kinds(["row"] * 30_000), kinds(["call"] * 20_000)
    matching = match(rows, calls, {(0, 0): 1}, [0])
    assert matching.call_of == [*range(20_000), *[None] * 10_000]
    assert all(matching.row_ambiguous)
    assert all(matching.call_ambiguous)


def call(name: str, start: Window, *, ended: bool = False) -> Call:
    return Call(name, "101", "202", start, 1, 0, ended="complete" if ended else None)


def test_calls_that_could_not_be_told_apart_may_each_have_begun_when_any_did() -> None:
    calls = [call("A", Window(10, 20)), call("B", Window(15, 30)), call("C", Window(0, 99))]
    first, second, third = blurred(calls, [True, True, False], [0, 0, 0])
    assert first.ambiguous
    assert second.ambiguous
    assert first.start == second.start == Window(10, 30)
    assert third == calls[2]


def test_a_call_whose_row_is_known_stays_as_it_is() -> None:
    calls = [call("A", Window(10, 20)), call("B", Window(5, 30), ended=True)]
    first, second = blurred(calls, [True, True], [0, 0])
    assert first.start == Window(5, 30)
    assert second == calls[1]


@given(cases())
def test_islands_are_what_chains_of_possible_pairs_join(case: Case) -> None:
    matching = case.matched()
    joined = {("row", r): {("row", r)} for r in range(len(case.near))}
    joined |= {("call", c): {("call", c)} for c in range(len(case.ranks))}
    for r, near in enumerate(case.near):
        for c, far in enumerate(near):
            if far is not None and joined["row", r] is not joined["call", c]:
                both = joined["row", r] | joined["call", c]
                joined |= dict.fromkeys(both, both)
    island = {("row", r): number for r, number in enumerate(matching.row_island)}
    island |= {("call", c): number for c, number in enumerate(matching.call_island)}
    for one, members in joined.items():
        assert members == {other for other in island if island[other] == island[one]}


def test_what_is_left_over_is_paired_the_nearest_first() -> None:
    far = {(1, 1): 5, (1, 2): 3, (3, 2): 4, (0, 1): 0}
    assert mistaken([0, None, None, None], 3, lambda r, c: far.get((r, c))) == [(1, 2)]
    assert mistaken([0, None, None, None], 3, lambda r, c: far.get((r, c)) if r != 1 else None) == [(3, 2)]
    assert mistaken([None], 1, lambda r, c: None) == []
