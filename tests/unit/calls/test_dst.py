"""Calls across the two changes of a year's clock, in zones of every kind, by servers whose clock is wrong."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.calls.hostile import INTERVAL, Poll, Server, Truth, close, steady, stepped, watch, wrong
from tests.unit.calls.recording import Which

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "60"))
SECOND, MINUTE = 1_000, 60_000
# Two answers tell the server's clock to 1.1 s and as long as each was on its way: up to 0.8 s in these worlds.
LEAST_TOLD = 2 * (1_100 + 800)


class Change(NamedTuple):
    """A moment at which a zone's clock was set, by so many minutes (0: a zone that does nothing of the kind)."""

    zone: str
    at: datetime
    minutes: int

    @property
    def ms(self) -> int:
        return int(self.at.timestamp()) * 1000


CHANGES = [
    Change("Europe/Berlin", datetime(2025, 10, 26, 1, tzinfo=UTC), -60),
    Change("Europe/Berlin", datetime(2025, 3, 30, 1, tzinfo=UTC), 60),
    Change("America/New_York", datetime(2025, 11, 2, 6, tzinfo=UTC), -60),
    Change("America/New_York", datetime(2025, 3, 9, 7, tzinfo=UTC), 60),
    Change("Australia/Lord_Howe", datetime(2025, 4, 5, 15, tzinfo=UTC), -30),
    Change("Australia/Lord_Howe", datetime(2025, 10, 4, 15, 30, tzinfo=UTC), 30),
    Change("Antarctica/Troll", datetime(2025, 10, 26, 1, tzinfo=UTC), -120),
    Change("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC), -60),
    Change("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC), 60),
    Change("Europe/Moscow", datetime(2014, 10, 25, 22, tzinfo=UTC), -60),
    Change("Europe/Moscow", datetime(2011, 3, 26, 23, tzinfo=UTC), 60),
    Change("Europe/Moscow", datetime(2025, 10, 26, 1, tzinfo=UTC), 0),
    Change("Asia/Kolkata", datetime(2025, 10, 26, 1, tzinfo=UTC), 0),
    Change("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC), 24 * 60),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.zone} {change.minutes:+}")
def test_the_zones_do_what_is_said_of_them(change: Change) -> None:
    zone = ZoneInfo(change.zone)
    offsets = [(change.at + timedelta(seconds=s)).astimezone(zone).utcoffset() for s in (-1, 0)]
    assert None not in offsets
    assert offsets[1] - offsets[0] == timedelta(minutes=change.minutes)  # type: ignore[operator]


@st.composite
def calls_across(draw: st.DrawFn, change: Change, skew: int) -> list[Truth]:
    """Calls about when the server's clock shows the change; echoes begin when it shows the same time again."""
    span = max(60, min(abs(change.minutes), 120)) * 60
    found: list[Truth] = []
    for n in range(draw(st.integers(1, 6))):
        src, dst = draw(st.sampled_from([("79160000001", "401"), ("79160000001", "402"), ("403", "404")]))
        start = change.ms - skew + draw(st.integers(-span - 300, span + 300)) * SECOND + draw(st.integers(0, 999))
        ring = draw(st.integers(1, 20_000))
        talk = draw(st.one_of(st.none(), st.integers(0, 30_000), st.integers(0, 2 * span * SECOND)))
        lag = draw(st.sampled_from([0, 0, 3_000]))
        for again, at in enumerate([start, start + abs(change.minutes) * MINUTE][: draw(st.integers(1, 2))]):
            answer = None if talk is None else at + ring
            call = Truth(f"{n}.{again}", src, dst, at, answer, at + ring + (talk or 0), lag)
            if not close([*found, call]):
                found.append(call)
    return found


def polls(calls: Sequence[Truth], jitter: Sequence[int], *, gaps: bool = True) -> list[Poll]:
    """Both lists every five seconds while anything happens, and, where there are gaps, seldom while nothing does."""
    first = min(call.started_at for call in calls) - 30 * SECOND
    last = max(call.ended_at for call in calls) + 150 * SECOND
    busy = sorted({at for call in calls for at in (call.started_at, call.ended_at)})
    found: list[Poll] = []
    for phase, which in enumerate[Which](("active", "completed")):
        at, n = first + phase * INTERVAL // 2, phase
        while at < last:
            there, back = jitter[n % len(jitter)], jitter[(n + 7) % len(jitter)]
            found.append(Poll(which, at, at + there, at + there + back))
            n += 1
            at += there + back + INTERVAL
            next_ = next((one for one in busy if one > at - 90 * SECOND), last)
            if gaps and next_ - at > 60 * SECOND:
                at = next_ - 30 * SECOND
    return sorted(found, key=lambda poll: poll.received)


class Polls(list[Poll]):
    """So many that nobody would read them."""

    def __repr__(self) -> str:
        return f"<{len(self)} polls>"


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Server, Polls]:
    change = draw(st.sampled_from(CHANGES))
    skew = draw(st.one_of(st.integers(-600_000, 600_000), st.just(0)))
    calls = draw(calls_across(change, skew))
    server = Server(change.zone, calls, steady(skew), live=draw(st.booleans()))
    jitter = draw(st.lists(st.integers(0, 400), min_size=5, max_size=11))
    return server, Polls(polls(calls, jitter, gaps=draw(st.integers(0, 9)) > 0))


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds())
def test_calls_across_a_change_are_told_of_once_and_truly(world: tuple[Server, Polls]) -> None:
    server, schedule = world
    assert (said := wrong(server, watch(server, schedule))) is None, said


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds(), st.data())
def test_an_outage_across_a_change_loses_and_doubles_nothing(world: tuple[Server, Polls], data: st.DataObject) -> None:
    server, schedule = world
    span = schedule[-1].received - schedule[0].sent
    down = schedule[1].sent + data.draw(st.integers(0, span), label="down")
    up = down + data.draw(st.integers(0, span), label="for")
    known = [poll for poll in schedule if poll.received < down]
    later = [poll for poll in schedule if poll.sent > up] or [
        Poll(poll.which, *(at + 2 * span for at in (poll.sent, poll.made, poll.received))) for poll in schedule[-30:]
    ]
    later[0] = replace(later[0], restart=True)
    assert (said := wrong(server, watch(server, known + later), excused=True)) is None, said


@st.composite
def quiet_moments(draw: st.DrawFn, calls: Sequence[Truth]) -> int:
    """A true time at which no call was on, nor had been a minute before, nor was a minute later."""
    busy = sorted((call.started_at - MINUTE, call.ended_at + call.lag + MINUTE) for call in calls)
    free = [busy[0][0] - MINUTE]
    until = busy[0][1]
    for start, end in busy[1:]:
        if start > until:
            free.append(draw(st.integers(until, start)))
        until = max(until, end)
    return draw(st.sampled_from([*free, until]))


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds(), st.data(), st.integers(-600_000, 600_000))
def test_a_server_s_clock_that_is_set_between_calls_does_no_harm(
    world: tuple[Server, Polls], data: st.DataObject, after: int
) -> None:
    server, schedule = world
    at = data.draw(quiet_moments(server.calls), label="at")
    server = replace(server, clock=stepped(server.clock(0), at, after))
    assert (said := wrong(server, watch(server, schedule), excused=True)) is None, said


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds(), st.data(), st.integers(-600_000, 600_000))
def test_a_clock_of_ours_that_is_set_at_any_moment_does_no_harm(
    world: tuple[Server, Polls], data: st.DataObject, by: int
) -> None:
    server, schedule = world
    at = data.draw(st.integers(schedule[0].sent, schedule[-1].received), label="at")
    assert (said := wrong(server, watch(server, schedule, stepped(0, at, by)), excused=True)) is None, said


@settings(max_examples=EXAMPLES, report_multiple_bugs=False, deadline=None)
@given(worlds(), st.data(), st.one_of(st.integers(-600_000, -LEAST_TOLD), st.integers(LEAST_TOLD, 600_000)))
def test_a_gateway_on_a_machine_whose_clock_is_another_takes_over_at_any_moment(
    world: tuple[Server, Polls], data: st.DataObject, by: int
) -> None:
    server, schedule = world
    n = data.draw(st.integers(1, len(schedule) - 1), label="restart")
    took_over = Polls([*schedule[:n], replace(schedule[n], restart=True), *schedule[n + 1 :]])
    ours = stepped(0, schedule[n].sent, by)
    assert (said := wrong(server, watch(server, took_over, ours), excused=True)) is None, said
