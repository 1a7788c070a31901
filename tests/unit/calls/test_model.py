"""The differ against a model PBX: any calls, any phase of the polls, lost answers, restarts, skew, late rows."""

from __future__ import annotations

import os
from collections import defaultdict
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls.differ import Rules, Window, first_state, read_active, read_completed
from gateway.calls.state import AccountState, encode, load
from gateway.contract.events import CallEvent
from gateway.contract.times import millis
from tests.unit.calls.model import ModelPbx, True_

BEGIN = 1_700_000_000_000
INTERVAL = 5_000
GRACE = 30_000
SPAN = 40_000
# Starts of the same numbers that lie closer than this can't always be told apart: each is known to a second either way
# from either list, and the clocks' difference to one more (Date counts whole seconds), plus the answers' travel time.
CLOSE = 6_000


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
    until = BEGIN + SPAN + 35_000 + GRACE + lag + 4 * INTERVAL
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


def reloaded(kept: dict[str, bytes]) -> AccountState | None:
    return load(kept.items())


def run(pbx: ModelPbx, schedule: list[tuple[int, int, int, str, bool]]) -> tuple[list[CallEvent], AccountState]:
    rules = Rules(account=1, absence_grace=GRACE)
    state: AccountState | None = None
    kept: dict[str, bytes] = {}
    events: list[CallEvent] = []
    for sent, made, received, which, restart in schedule:
        window = Window(sent, received)
        if restart:
            state = reloaded(kept)
        if state is None:
            state = first_state(rules, window)
        if which == "active":
            diff = read_active(rules, state, pbx.active(made), window, pbx.date(made))
        else:
            diff = read_completed(rules, state, pbx.completed(made), window, pbx.date(made))
        state = diff.state
        events += diff.events
        for name, part in diff.parts.items():
            raw = encode(part)
            if raw is None:
                kept.pop(name, None)
            else:
                kept[name] = raw
    assert state is not None
    return events, state


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
    if ("call.answered" in [event.type for event in life]) != (call.answer is not None):
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


@settings(max_examples=int(os.environ.get("MODEL_EXAMPLES", "600")), report_multiple_bugs=False, deadline=None)
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


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_the_same_answers_give_the_same_bytes(world: tuple[ModelPbx, list[tuple[int, int, int, str, bool]]]) -> None:
    pbx, schedule = world
    assert run(pbx, schedule)[0] == run(pbx, schedule)[0]
