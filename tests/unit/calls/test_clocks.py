"""The skew of the server's clock: bounds that always hold it, however the clocks drift and answers travel."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.clocks import Skew, unknown_skew
from gateway.calls.snapshots import Window
from tests.unit.calls.model import Wall

BEGIN = 1_700_000_000_000
LIMIT = 600_000


class Answer(msgspec.Struct, frozen=True):
    """`gap` ms after the answer before, on its way for `there` and `back` ms, with clocks `ppm` apart since then."""

    gap: int
    there: int
    back: int
    ppm: int


answers = st.lists(
    st.builds(
        Answer,
        gap=st.one_of(st.integers(1, 10_000), st.integers(1, 6 * 3_600_000)),
        there=st.integers(0, 3_000),
        back=st.integers(0, 3_000),
        ppm=st.integers(-99, 99),
    ),
    min_size=1,
    max_size=25,
)
offsets = st.integers(-LIMIT, LIMIT)


class Clocks:
    """The gateway's clock in ms, and how far the server's is ahead, in ns (a ms with a drift of 1 ppm is 1 ns)."""

    def __init__(self, offset: int) -> None:
        self.now = BEGIN
        self.ahead = offset * 1_000_000
        self.skew = unknown_skew(LIMIT, BEGIN)
        self.past = [(self.now, self.ahead)]

    def wait(self, span: int, ppm: int) -> None:
        self.now += span
        self.ahead += span * ppm
        self.past.append((self.now, self.ahead))

    def answer(self, one: Answer) -> None:
        self.wait(one.gap, one.ppm)
        sent = self.now
        self.wait(one.there, one.ppm)
        date = (self.now * 1_000_000 + self.ahead) // 1_000_000_000 * 1_000
        self.wait(one.back, one.ppm)
        self.skew = self.skew.narrowed(date, Window(sent, self.now))

    def holds(self) -> bool:
        return self.skew.low * 1_000_000 <= self.ahead <= self.skew.high * 1_000_000


@given(offsets, answers)
def test_bounds_always_hold_the_true_offset(offset: int, sequence: list[Answer]) -> None:
    clocks = Clocks(offset)
    for one in sequence:
        clocks.answer(one)
        assert clocks.holds()


@given(offsets, answers, st.integers(0, 30 * 86_400_000))
def test_bounds_hold_until_the_next_answer_however_late(offset: int, sequence: list[Answer], later: int) -> None:
    clocks = Clocks(offset)
    for one in sequence:
        clocks.answer(one)
    clocks.wait(later, 99)
    clocks.skew = clocks.skew.after(clocks.now)
    assert clocks.holds()


@given(offsets, answers)
def test_times_of_the_server_s_clock_lie_within_their_local_bounds(offset: int, sequence: list[Answer]) -> None:
    clocks = Clocks(offset)
    for one in sequence:
        clocks.answer(one)
    for at, ahead in clocks.past:
        shown = (at * 1_000_000 + ahead) // 1_000_000_000 * 1_000
        low, high, guess = clocks.skew.instant(shown)
        assert low <= at <= high
        assert low <= guess <= high


@given(offsets, st.lists(st.integers(0, 999), min_size=30, max_size=30))
def test_bounds_narrow_to_the_travel_time_over_many_answers(offset: int, phases: list[int]) -> None:
    clocks = Clocks(offset)
    for phase in [*phases, *range(0, 1_000, 50)]:
        clocks.answer(Answer(5_000 + phase, 20, 20, 0))
    assert clocks.skew.high - clocks.skew.low < 1_000
    assert clocks.holds()


@given(offsets, offsets, answers)
def test_a_clock_that_was_set_is_estimated_anew(before: int, after: int, sequence: list[Answer]) -> None:
    clocks = Clocks(before)
    for n in range(3):
        clocks.answer(Answer(5_000 + 333 * n, 20, 20, 0))
    if abs(after - before) <= 7_500 + 2_500:  # what the bounds, and an answer that was long on its way, leave open
        after = before + 20_000
    clocks.ahead = after * 1_000_000
    for one in sequence:
        clocks.answer(msgspec.structs.replace(one, gap=min(one.gap, 60_000)))
        assert clocks.holds()


def test_both_instants_of_a_repeated_hour_lie_within_the_bounds() -> None:
    low, high, guess = Skew(0, 0, BEGIN).local(Wall(BEGIN, BEGIN + 3_600_000))
    assert low <= BEGIN
    assert high >= BEGIN + 3_600_000 + 999
    assert low <= guess <= high
