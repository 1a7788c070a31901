"""The differ with channels against a model PBX: originated calls, names given again, lost and false answers, restarts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import pairwise

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.calls.channels import read_channels
from gateway.calls.differ import Rules, Window, first_state, read_active, read_completed
from gateway.calls.state import AccountState, encode, load
from gateway.contract.events import CallEvent
from gateway.contract.times import millis
from gateway.polling.channels import Legs
from gateway.ringcloud import Channel
from tests.unit.calls.model import ModelPbx, True_
from tests.unit.calls.test_model import BEGIN, CLOSE, GRACE, INTERVAL, SPAN, could_be, lives, well_formed

CHANNEL_INTERVAL = 2_000


@dataclasses.dataclass(frozen=True)
class Originated(True_):
    """A call whose called side's channel comes later than its caller's; never where the user does not answer."""

    dialled: int | None = None


@dataclasses.dataclass(frozen=True)
class WithChannels(ModelPbx):
    """Each call has two names; with `reuse` the lowest that are free, which may have been another call's just before."""

    reuse: bool = False

    def channels(self, now: int) -> dict[str, Channel]:
        found: dict[str, Channel] = {}
        for call, slot in self._slots():
            if not call.start <= now < call.end:
                continue
            dialled = dialled_of(call)
            both = dialled is not None and dialled <= now
            sides = [(2 * slot, call.src, call.dst if both else "", call.start)]
            if both:
                assert dialled is not None
                sides.append((2 * slot + 1, call.dst, call.src, dialled))
            for counter, number, other, since in sides:
                name = f"SIP/trunk-{counter:08x}"
                found[name] = Channel(
                    name=name, caller_id_num=number, connected_line_num=other, seconds=(now - since) // 1000
                )
        return found

    def _slots(self) -> list[tuple[True_, int]]:
        free: list[int] = []
        busy: list[tuple[int, int]] = []
        found: list[tuple[True_, int]] = []
        for call in sorted(self.calls, key=lambda call: call.start):
            while self.reuse and busy and busy[0][0] <= call.start:
                heappush(free, heappop(busy)[1])
            slot = heappop(free) if free else len(busy) + 1 if self.reuse else len(found) + 1
            heappush(busy, (call.end, slot))
            found.append((call, slot))
        return found


def dialled_of(call: True_) -> int | None:
    return call.dialled if isinstance(call, Originated) else call.start


@dataclasses.dataclass(frozen=True)
class Poll:
    """One question. Details are asked for when the list is here; two at a time, each on its way for as long as `trips`
    say. `lost` names those that are not answered, by their place in the list; `empty` is a false list."""

    which: str
    sent: int
    made: int
    received: int
    restart: bool
    trips: tuple[tuple[int, int], ...] = ()
    lost: frozenset[int] = frozenset()
    empty: bool = False

    def details(self, place: int) -> tuple[int, int, int]:
        there, back = self.trips[place % 2]
        return self.received, self.received + there, self.received + there + back

    @property
    def applied(self) -> int:
        return self.received + max((there + back for there, back in self.trips), default=0)


@st.composite
def true_calls(draw: st.DrawFn) -> True_:
    start = BEGIN + draw(st.integers(1, SPAN))
    rung = draw(st.one_of(st.just(0), st.integers(1, 8_000)))
    ring = draw(st.one_of(st.integers(1, 1_500), st.integers(1, 12_000)))
    talk = draw(st.one_of(st.none(), st.integers(0, 1_500), st.integers(0, 20_000)))
    numbers = draw(st.sampled_from([("101", "202"), ("101", "203"), ("202", "101")]))
    if draw(st.integers(0, 3)) > 0:
        answer = None if talk is None else start + ring
        return True_(*numbers, start, answer, start + ring + (talk or 0))
    if draw(st.integers(0, 3)) == 0:
        return Originated(*numbers, start, None, start + rung + ring)
    answer = None if talk is None else start + rung + ring
    return Originated(*numbers, start, answer, start + rung + ring + (talk or 0), dialled=start + rung)


@st.composite
def polls(draw: st.DrawFn, lag: int) -> list[Poll]:
    until = BEGIN + SPAN + 45_000 + GRACE + lag + 4 * INTERVAL
    trip = st.integers(0, 300)
    found: list[Poll] = []
    for which, interval in (("active", INTERVAL), ("completed", INTERVAL), ("channels", CHANNEL_INTERVAL)):
        at = BEGIN - draw(st.integers(1, interval))
        tail = until - 3 * INTERVAL
        while at < (until if which != "channels" else BEGIN + SPAN + 20_000):
            made = at + draw(trip)
            received = made + draw(trip)
            trips = ((draw(trip), draw(trip)), (draw(trip), draw(trip))) if which == "channels" else ()
            poll = Poll(
                which,
                at,
                made,
                received,
                restart=draw(st.integers(0, 9)) == 0,
                trips=trips,
                lost=draw(st.frozensets(st.integers(0, 5), max_size=2))
                if trips and draw(st.booleans())
                else frozenset(),
                empty=bool(trips) and draw(st.integers(0, 9)) == 0,
            )
            if at > tail or at < BEGIN or draw(st.integers(0, 9)) > 0:
                found.append(poll)
            at = poll.applied + interval
    return sorted(found, key=lambda poll: poll.applied)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[WithChannels, list[Poll], bool]:
    lag = draw(st.sampled_from([0, 0, 700, 8_000]))
    pbx = WithChannels(
        calls=draw(st.lists(true_calls(), max_size=8)),
        skew=draw(st.integers(-600_000, 600_000)),
        lag=lag,
        live_status=draw(st.booleans()),
        reuse=draw(st.booleans()),
    )
    return pbx, draw(polls(lag)), draw(st.integers(0, 3)) > 0


def run(pbx: WithChannels, schedule: Sequence[Poll], agreed: bool) -> tuple[list[CallEvent], AccountState]:
    rules = Rules(account=1, absence_grace=GRACE)
    state: AccountState | None = None
    kept: dict[str, bytes] = {}
    events: list[CallEvent] = []
    legs = Legs()
    for poll in schedule:
        window = Window(poll.sent, poll.received)
        if poll.restart:
            state, legs = load(kept.items()), Legs()
        if state is None:
            state = first_state(rules, window)
            state = msgspec.structs.replace(state, mark=msgspec.structs.replace(state.mark, agreed=agreed))
        if poll.which == "active":
            diff = read_active(rules, state, pbx.active(poll.made), window, pbx.date(poll.made))
        elif poll.which == "completed":
            diff = read_completed(rules, state, pbx.completed(poll.made), window, pbx.date(poll.made))
        else:
            due = legs.listed([] if poll.empty else pbx.channels(poll.made), window)
            for place, name in enumerate(due):
                sent, made, received = poll.details(place)
                told = pbx.channels(made).get(name)
                if told is None:
                    legs.gone(name)
                elif place not in poll.lost:
                    legs.told(told, Window(sent, received))
            if not due:
                continue
            read = read_channels(rules, state, legs.snapshot())
            legs.settle(read.settled)
            diff = read.diff
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


def fits(life: list[CallEvent], call: True_) -> bool:
    """Whether all of this life holds of this call, what it says of the called side included."""
    dialled = dialled_of(call)
    by = [millis(event.data.dialled_by) for event in life if event.data.dialled_by is not None]
    return could_be(life, call) and all(dialled is not None and dialled <= one for one in by)


def all_paired(found: list[list[CallEvent]], truth: list[True_]) -> bool:
    owner: dict[int, int] = {}

    def place(at: int, tried: set[int]) -> bool:
        for t, call in enumerate(truth):
            if t not in tried and fits(found[at], call):
                tried.add(t)
                if t not in owner or place(owner[t], tried):
                    owner[t] = at
                    return True
        return False

    return len(found) == len(truth) and all(place(at, set()) for at in range(len(found)))


@settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "300")),
    report_multiple_bugs=False,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(worlds())
def test_every_call_once_and_every_time_true(world: tuple[WithChannels, list[Poll], bool]) -> None:
    pbx, schedule, agreed = world
    events, state = run(pbx, schedule, agreed)
    found = lives(events)
    for life in found.values():
        well_formed(life)
    assert state.live() == 0
    assert not state.mark.doubted
    for numbers in {(call.src, call.dst) for call in pbx.calls}:
        mine = [life for life in found.values() if (life[0].data.src, life[0].data.dst) == numbers]
        truth = [call for call in pbx.calls if (call.src, call.dst) == numbers]
        assert len(mine) == len(truth)
        starts = sorted(call.start for call in truth)
        if all(later - before > CLOSE for before, later in pairwise(starts)):
            assert not any(event.data.ambiguous for life in mine for event in life)
            assert all_paired(mine, truth)
    assert len(found) == len(pbx.calls)
