"""Matching against brute force: every matching of small lists is tried."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.calls.fit import blurred, mistaken
from gateway.calls.matching import match
from gateway.calls.snapshots import Window
from gateway.calls.state import Call

# Of each row the call that it is paired with.
Pairing = tuple[int | None, ...]


class Case(msgspec.Struct, frozen=True):
    """`near[row][call]` is the distance, None where the two can't be the same; `ranks` ascend."""

    near: list[list[int | None]]
    ranks: list[int]

    def distance(self, row: int, call: int) -> int | None:
        return self.near[row][call]

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
    paired = match(len(case.near), len(case.ranks), case.distance, case.ranks).call_of
    assert tuple(paired) in set(case.pairings())


@settings(max_examples=300)
@given(cases())
@example(GREEDY_IS_NOT_ENOUGH)
def test_as_many_are_paired_as_can_be(case: Case) -> None:
    paired = match(len(case.near), len(case.ranks), case.distance, case.ranks).call_of
    assert size(tuple(paired)) == case.largest()


@settings(max_examples=300)
@given(cases())
@example(GREEDY_IS_NOT_ENOUGH)
def test_calls_of_a_lower_rank_are_never_given_up(case: Case) -> None:
    paired = match(len(case.near), len(case.ranks), case.distance, case.ranks).call_of
    for rank in range(3):
        calls = {call for call, its in enumerate(case.ranks) if its <= rank}
        assert sum(call in calls for call in paired) == case.largest(calls)


@settings(max_examples=300)
@given(cases())
def test_the_flags_are_what_every_other_matching_of_that_size_says(case: Case) -> None:
    matching = match(len(case.near), len(case.ranks), case.distance, case.ranks)
    most = case.largest()
    all_largest = [pairing for pairing in case.pairings() if size(pairing) == most]
    for row, flag in enumerate(matching.row_ambiguous):
        assert flag == (len({pairing[row] for pairing in all_largest}) > 1)
    for call, flag in enumerate(matching.call_ambiguous):
        rows = {pairing.index(call) if call in pairing else None for pairing in all_largest}
        assert flag == (len(rows) > 1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.booleans())
def test_the_nearest_are_paired_first(distances: list[int], rows_many: bool) -> None:
    many = len(distances)
    nearest = distances.index(min(distances))
    if rows_many:
        matching = match(many, 1, lambda r, c: distances[r], [0])
        assert matching.call_of.index(0) == nearest
    else:
        matching = match(1, many, lambda r, c: distances[c], [0] * many)
        assert matching.call_of == [nearest]


@given(cases())
def test_the_same_case_is_paired_the_same_way(case: Case) -> None:
    first, again = (match(len(case.near), len(case.ranks), case.distance, case.ranks) for _ in range(2))
    assert first == again


def test_a_long_chain_is_turned_over_to_its_end() -> None:
    """Row n fits calls n and n + 1, and only the last call is free: every pair has to move."""
    many = 2_000
    distance = {(n, n): 1 for n in range(many)} | {(n, n + 1): 0 for n in range(many - 1)}
    matching = match(many, many, lambda r, c: distance.get((r, c)), [0] * many)
    assert matching.call_of == list(range(many))
    assert not any(matching.row_ambiguous)


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
    matching = match(len(case.near), len(case.ranks), case.distance, case.ranks)
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
