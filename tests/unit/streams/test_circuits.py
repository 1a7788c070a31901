"""Circuits: opened by failures in a row, closed by a success, and in between one probe at a time, ever more rarely."""

import heapq
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.delivery.circuits import FIRST_PROBE, LAST_PROBE, THRESHOLD, Circuit, Pass
from streams.delivery.retries import Schedule


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Circuit:
    """A circuit that has just opened."""
    circuit = Circuit(clock, random.Random(1))
    for _ in range(THRESHOLD):
        assert not circuit.is_open
        circuit.failed(admitted(circuit))
    assert circuit.is_open
    return circuit


def admitted(circuit: Circuit) -> Pass:
    leave = circuit.admit()
    assert leave is not None
    return leave


def test_only_failures_in_a_row_open_it() -> None:
    circuit = Circuit(Clock())
    for n in range(10 * THRESHOLD):
        circuit.failed(admitted(circuit))
        if n % (THRESHOLD - 1) == 0:
            circuit.succeeded()
    assert not circuit.is_open


def test_probes_come_at_growing_intervals() -> None:
    clock = Clock()
    circuit = opened(clock)
    intervals = []
    for _ in range(9):
        assert circuit.admit() is None
        began = clock.now
        while circuit.shut:
            clock.now += 0.5
        intervals.append(clock.now - began)
        circuit.failed(admitted(circuit))
    assert intervals == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert (intervals[0], intervals[-1]) == (FIRST_PROBE, LAST_PROBE)


def test_one_probe_at_a_time_and_its_success_lets_all_pass() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now = FIRST_PROBE
    probe = admitted(circuit)
    assert probe.probe
    assert circuit.admit() is None
    circuit.succeeded()
    assert not circuit.is_open
    assert [admitted(circuit).probe for _ in range(3)] == [False] * 3


def test_a_probe_that_was_cut_off_makes_way_for_another() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now = FIRST_PROBE
    circuit.abandoned(admitted(circuit))
    assert admitted(circuit).probe


def test_failures_of_before_count_for_nothing() -> None:
    clock = Clock()
    circuit = Circuit(clock, random.Random(1))
    old = [admitted(circuit) for _ in range(3 * THRESHOLD)]
    for leave in old[:THRESHOLD]:
        circuit.failed(leave)
    assert circuit.is_open
    for leave in old[THRESHOLD : 2 * THRESHOLD]:
        circuit.failed(leave)
    clock.now = FIRST_PROBE
    assert admitted(circuit).probe
    circuit.succeeded()
    for leave in old[2 * THRESHOLD :]:
        circuit.failed(leave)
    assert not circuit.is_open


@pytest.mark.parametrize("seed", range(3))
def test_an_outage_of_a_day_costs_few_attempts_and_gives_nothing_up(seed: int) -> None:
    """One delivery a minute to an endpoint that is down for a day, each worker's step as it is taken."""
    day, minute = 86_400.0, 60.0
    clock, rng = Clock(), random.Random(seed)
    circuit, schedule = Circuit(clock, rng), Schedule(rng=rng)
    due = [(n * minute, n, 0) for n in range(int(day / minute))]
    delivered: dict[int, tuple[float, int]] = {}
    failed = 0
    while due:
        clock.now, n, attempts = heapq.heappop(due)
        leave = circuit.admit()
        if leave is None:
            heapq.heappush(due, (clock.now + circuit.wait(), n, attempts))
        elif clock.now >= day:
            circuit.succeeded()
            delivered[n] = clock.now, attempts
        else:
            failed += 1
            circuit.failed(leave)
            wait = schedule.wait(attempts + 1)
            assert wait is not None, "given up"
            heapq.heappush(due, (clock.now + wait, n, attempts + 1))
    assert len(delivered) == day / minute
    # Those that open it, and a probe each time that the longest interval has passed, or one of those before it.
    assert failed <= THRESHOLD + day / LAST_PROBE + 7
    assert sum(attempts > 0 for _, attempts in delivered.values()) < len(delivered) / 4
    # What was never tried comes back within six minutes of the outage's end, or of the first probe after it.
    assert max(at for at, attempts in delivered.values() if not attempts) <= day + 2 * LAST_PROBE * 1.2


@pytest.mark.parametrize("seed", range(20))
def test_what_is_parked_comes_back_after_the_time_of_the_probe(seed: int) -> None:
    clock = Clock()
    circuit = Circuit(clock, random.Random(seed))
    for _ in range(THRESHOLD):
        circuit.failed(admitted(circuit))
    assert FIRST_PROBE <= circuit.wait() <= FIRST_PROBE * 1.2
    clock.now = 3.0
    assert FIRST_PROBE - 3 <= circuit.wait() <= (FIRST_PROBE - 3) * 1.2
    clock.now = FIRST_PROBE
    admitted(circuit)
    assert circuit.wait() >= FIRST_PROBE


class AnyCourse(RuleBasedStateMachine):
    """Whatever happens, in whatever order: what must hold of a circuit."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.circuit = Circuit(self.clock, random.Random(0))
        self.out: list[Pass] = []
        self.opened_at: float | None = None

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def asks(self) -> None:
        shut = self.circuit.shut
        leave = self.circuit.admit()
        assert (leave is None) == shut
        if leave is not None:
            assert leave.probe == self.circuit.is_open
            self.out.append(leave)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "failed", "failed", "abandoned"]))
    def ends(self, data: st.DataObject, outcome: str) -> None:
        leave = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        if outcome == "succeeded":
            self.circuit.succeeded()
            assert not self.circuit.is_open
        elif outcome == "failed":
            self.circuit.failed(leave)
        else:
            self.circuit.abandoned(leave)

    @invariant()
    def one_probe_at_most(self) -> None:
        if self.circuit.is_open:
            newest = max((leave.era for leave in self.out), default=0)
            assert sum(leave.probe and leave.era == newest for leave in self.out) <= 1

    @invariant()
    def a_probe_is_never_further_than_the_longest_interval(self) -> None:
        if self.circuit.is_open and not any(leave.probe for leave in self.out):
            now = self.clock.now
            self.clock.now = now + LAST_PROBE
            assert not self.circuit.shut
            self.clock.now = now
        assert self.circuit.is_open or not self.circuit.shut
        assert 1.0 <= self.circuit.wait() <= LAST_PROBE * 1.2


TestAnyCourse = AnyCourse.TestCase
TestAnyCourse.settings = settings(max_examples=100, deadline=None)
