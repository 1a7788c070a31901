"""The differ against a model PBX: any calls, any phase of the polls, lost answers, restarts, skew, late rows."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls.differ import Rules, Window, first_state, read_active, read_completed
from gateway.calls.moving import moved
from gateway.calls.state import AccountState, encode, load
from gateway.contract.events import CallEvent
from gateway.contract.times import millis
from tests.unit.calls.model import Active, Completed, ModelPbx, True_

BEGIN = 1_700_000_000_000
INTERVAL = 5_000
GRACE = 30_000
SPAN = 40_000
# Starts of the same numbers that lie closer than this can't always be told apart: each is known to a second either way
# from either list, and the clocks' difference to one more (Date counts whole seconds), plus the answers' travel time.
CLOSE = 6_000
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "600"))


@st.composite
def true_calls(draw: st.DrawFn) -> True_:
    start = BEGIN + draw(st.integers(1, SPAN))
    ring = draw(st.one_of(st.integers(1, 1_500), st.integers(1, 12_000)))
    talk = draw(st.one_of(st.none(), st.integers(0, 1_500), st.integers(0, 20_000)))
    numbers = draw(st.sampled_from([("101", "202"), ("101", "203"), ("79001", "400")]))
    answer = None if talk is None else start + ring
    return True_(*numbers, start, answer, start + ring + (talk or 0))


@st.composite
def polls(draw: st.DrawFn, lag: int) -> list[tuple[int, int, int, str, bool]]:
    """(sent, made, received, list, restart before it); every list is asked for to the end, some answers are lost."""
    until = BEGIN + SPAN + 35_000 + max(GRACE, 60_000) + lag + 4 * INTERVAL
    found = []
    for which in ("active", "completed"):
        at = BEGIN - draw(st.integers(1, INTERVAL))
        while at < until:
            made = at + draw(st.integers(0, 300))
            received = made + draw(st.integers(0, 300))
            tail = at > until - 3 * INTERVAL
            first = at < BEGIN
            if tail or first or draw(st.integers(0, 9)) > 0:
                found.append((at, made, received, which, draw(st.integers(0, 7)) == 0))
            at = received + INTERVAL
    return sorted(found, key=lambda poll: poll[2])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[ModelPbx, list[tuple[int, int, int, str, bool]]]:
    lag = draw(st.sampled_from([0, 0, 700, 8_000]))
    pbx = ModelPbx(
        calls=draw(st.lists(true_calls(), max_size=8)),
        skew=draw(st.integers(-600_000, 600_000)),
        lag=lag,
        live_status=draw(st.booleans()),
    )
    return pbx, draw(polls(lag))


@st.composite
def crowds(draw: st.DrawFn) -> tuple[ModelPbx, list[tuple[int, int, int, str, bool]]]:
    """Calls of the same numbers, begun within two seconds of each other in a few bursts, whose rows say if they ring."""
    calls = []
    for base in draw(st.lists(st.integers(1, SPAN - 10_000), min_size=1, max_size=3)):
        for _ in range(draw(st.integers(1, 4))):
            start = BEGIN + base + draw(st.integers(0, 2_000))
            ring = draw(st.one_of(st.integers(1, 1_500), st.integers(300, 4_000), st.integers(300, 12_000)))
            talk = draw(st.one_of(st.none(), st.integers(0, 1_500), st.integers(0, 7_000), st.integers(0, 20_000)))
            calls.append(True_("101", "202", start, None if talk is None else start + ring, start + ring + (talk or 0)))
    lag = draw(st.sampled_from([0, 0, 700, 8_000]))
    pbx = ModelPbx(calls, draw(st.sampled_from([0, 599_750, -3_217])), lag, draw(st.sampled_from([True, True, False])))
    return pbx, draw(polls(lag))


def reloaded(kept: dict[str, bytes]) -> AccountState | None:
    return load(kept.items())


@st.composite
def empties(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """(list, from, to): from when to when that list is `[]` whatever is true; often both are."""
    which = st.sampled_from([("active",), ("completed",), ("active", "completed")])
    spans = st.tuples(which, st.integers(0, SPAN), st.integers(1, 60_000))
    found = draw(st.lists(spans, min_size=1, max_size=4))
    return [(one, BEGIN + at, BEGIN + at + long) for lists, at, long in found for one in lists]


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[int, int]]:
    """(at, by): the gateway's clock is set by so many ms, at moments of the true clock after the first answers, in
    order."""
    by = st.one_of(st.integers(-3_000, 3_000), st.integers(-900_000, 900_000))
    return sorted(
        draw(st.lists(st.tuples(st.integers(BEGIN + 700, BEGIN + SPAN + 35_000), by), min_size=1, max_size=3))
    )


@dataclasses.dataclass(frozen=True)
class Emptied(ModelPbx):
    """A PBX whose lists are empty at times."""

    faults: Sequence[tuple[str, int, int]] = ()

    def active(self, now: int) -> list[Active]:
        return [] if self._faulty("active", now) else super().active(now)

    def completed(self, now: int) -> list[Completed]:
        return [] if self._faulty("completed", now) else super().completed(now)

    def _faulty(self, which: str, now: int) -> bool:
        return any(which == one and low <= now < high for one, low, high in self.faults)


def run(
    pbx: ModelPbx,
    schedule: list[tuple[int, int, int, str, bool]],
    clock: Sequence[tuple[int, int]] = (),
    grace: int = GRACE,
) -> tuple[list[CallEvent], AccountState]:
    """The events in true times, and the last state. The gateway is there when its clock is set."""
    rules = Rules(account=1, absence_grace=grace)
    state: AccountState | None = None
    kept: dict[str, bytes] = {}
    events: list[CallEvent] = []
    ahead = 0
    for sent, made, received, which, restart in schedule:
        asked, now = (sum(by for step, by in clock if step <= at) for at in (sent, received))
        if restart:
            state = reloaded(kept)
        if state is not None and now != ahead:
            state, parts = moved(state, now - ahead, now - ahead)
            for name, part in parts.items():
                kept[name] = encode(part) or b""
        ahead = now
        if asked != now:
            continue
        window = Window(sent + ahead, received + ahead)
        if state is None:
            state = first_state(rules, window)
        if which == "active":
            diff = read_active(rules, state, pbx.active(made), window, pbx.date(made))
        else:
            diff = read_completed(rules, state, pbx.completed(made), window, pbx.date(made))
        state = diff.state
        events += [truly(event, ahead) for event in diff.events]
        for name, part in diff.parts.items():
            raw = encode(part)
            if raw is None:
                kept.pop(name, None)
            else:
                kept[name] = raw
    assert state is not None
    return events, state


def truly(event: CallEvent, ahead: int) -> CallEvent:
    """The event, told by a clock that is `ahead`, in true times."""
    by, data, replace = timedelta(milliseconds=ahead), event.data, msgspec.structs.replace
    times = {name: getattr(data, name) - by for name in ("not_before", "not_after", "observed_at")}
    return replace(event, time=event.time - by, data=replace(data, **times))


def lives(events: list[CallEvent]) -> dict[str, list[CallEvent]]:
    found: dict[str, list[CallEvent]] = defaultdict(list)
    for event in events:
        found[event.subject].append(event)
    return found


def well_formed(life: list[CallEvent]) -> None:
    types = [event.type for event in life]
    assert types[0] == "call.started"
    assert types.count("call.started") == 1
    assert types.count("call.answered") <= 1
    assert types.count("call.ended") == 1
    assert set(types[types.index("call.ended") + 1 :]) <= {"call.updated"}
    assert [event.data.sequence for event in life] == list(range(1, len(life) + 1))
    for event in life:
        assert event.data.not_before <= event.time <= event.data.not_after <= event.data.observed_at
        assert event.id == f"{event.subject}-{event.data.sequence}"


def could_be(life: list[CallEvent], call: True_) -> bool:
    """Whether every event of this life holds of this call: numbers, bounds, answer, disposition."""
    if (life[0].data.src, life[0].data.dst) != (call.src, call.dst):
        return False
    told = [event.type for event in life]
    # After an end by absence only a correction can say that there was an answer.
    corrected = told[-1] == "call.updated" and life[-1].data.answered and "call.answered" not in told
    if (("call.answered" in told) or corrected) != (call.answer is not None):
        return False
    for event in life:
        if event.type == "call.updated":
            continue
        true = {"call.started": call.start, "call.answered": call.answer, "call.ended": call.end}[event.type]
        if true is None or not millis(event.data.not_before) <= true <= millis(event.data.not_after):
            return False
    return life[-1].data.disposition in (call.disposition, None)


def all_paired(found: list[list[CallEvent]], truth: list[True_]) -> bool:
    """Whether lives and true calls can be paired one to one (Kuhn)."""
    owner: dict[int, int] = {}

    def place(at: int, tried: set[int]) -> bool:
        for t, call in enumerate(truth):
            if t not in tried and could_be(found[at], call):
                tried.add(t)
                if t not in owner or place(owner[t], tried):
                    owner[t] = at
                    return True
        return False

    return len(found) == len(truth) and all(place(at, set()) for at in range(len(found)))


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds())
def test_every_call_once_and_every_time_true(world: tuple[ModelPbx, list[tuple[int, int, int, str, bool]]]) -> None:
    pbx, schedule = world
    events, state = run(pbx, schedule)
    found = lives(events)
    for life in found.values():
        well_formed(life)
    assert state.live() == 0
    for numbers in {(call.src, call.dst) for call in pbx.calls}:
        mine = [life for life in found.values() if (life[0].data.src, life[0].data.dst) == numbers]
        truth = [call for call in pbx.calls if (call.src, call.dst) == numbers]
        assert len(mine) == len(truth)
        starts = sorted(call.start for call in truth)
        if all(later - before > CLOSE for before, later in pairwise(starts)):
            assert not any(event.data.ambiguous for life in mine for event in life)
            assert all_paired(mine, truth)
    assert len(found) == len(pbx.calls)


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(crowds())
def test_of_calls_that_nothing_tells_apart_as_many_are_answered_as_were(
    world: tuple[ModelPbx, list[tuple[int, int, int, str, bool]]],
) -> None:
    """Whichever is told answered, it is that many; and none that was told so ends as one that was not."""
    pbx, schedule = world
    events, state = run(pbx, schedule)
    told = Counter(event.type for event in events)
    assert told["call.started"] == told["call.ended"] == len(pbx.calls)
    assert told["call.answered"] == sum(call.answer is not None for call in pbx.calls)
    assert state.live() == 0
    # Each end that is told is one that was, whichever call's.
    ends = sorted(call.end for call in pbx.calls)
    bounds = sorted(
        ((event.data.not_after, event.data.not_before) for event in events if event.type == "call.ended"),
    )
    for high, low in bounds:
        ends.remove(next(end for end in ends if millis(low) <= end <= millis(high)))
    for life in lives(events).values():
        well_formed(life)
        answered = "call.answered" in [event.type for event in life]
        assert answered == (life[-1].data.disposition == "ANSWERED")


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds(), empties())
def test_lists_that_are_empty_for_a_while_end_and_start_nothing(
    world: tuple[ModelPbx, list[tuple[int, int, int, str, bool]]], faults: list[tuple[str, int, int]]
) -> None:
    pbx, schedule = world
    events, state = run(Emptied(pbx.calls, pbx.skew, pbx.lag, pbx.live_status, faults), schedule)
    judged(pbx, events, state)
    assert "absence" not in [event.data.evidence for event in events]


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds(), empties())
def test_lists_that_are_empty_for_many_grace_periods_end_no_call_that_runs(
    world: tuple[ModelPbx, list[tuple[int, int, int, str, bool]]], faults: list[tuple[str, int, int]]
) -> None:
    """Up to a hundred of them. A call that other calls outlast may end by absence, within bounds that are true."""
    pbx, schedule = world
    events, state = run(Emptied(pbx.calls, pbx.skew, pbx.lag, pbx.live_status, faults), schedule, grace=600)
    judged(pbx, events, state)


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds(), steps())
def test_a_clock_of_the_gateway_s_that_is_set_at_any_moment_does_no_harm(
    world: tuple[ModelPbx, list[tuple[int, int, int, str, bool]]], clock: list[tuple[int, int]]
) -> None:
    pbx, schedule = world
    events, state = run(pbx, schedule, clock)
    judged(pbx, events, state)


def judged(pbx: ModelPbx, events: list[CallEvent], state: AccountState) -> None:
    """Each call has a life, and those that are not too close to others of their numbers a true one."""
    found = lives(events)
    for life in found.values():
        well_formed(life)
    for numbers in {(call.src, call.dst) for call in pbx.calls}:
        mine = [life for life in found.values() if (life[0].data.src, life[0].data.dst) == numbers]
        truth = [call for call in pbx.calls if (call.src, call.dst) == numbers]
        starts = sorted(call.start for call in truth)
        if all(later - before > CLOSE for before, later in pairwise(starts)):
            assert all_paired(mine, truth)
    assert state.live() == 0


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_the_same_answers_give_the_same_bytes(world: tuple[ModelPbx, list[tuple[int, int, int, str, bool]]]) -> None:
    pbx, schedule = world
    assert run(pbx, schedule)[0] == run(pbx, schedule)[0]
