"""Degraded and recovered: each told once, at once where the key is refused, and not again after a restart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.notices import AccountDegraded, AccountRecovered, Listing, Notice
from gateway.contract.times import millis
from gateway.polling.health import Health
from gateway.ringcloud import AuthenticationError, RingCloudError, ServerError

AFTER = 30_000
START = 1_700_000_000_000
BROKEN = ServerError("internal error", status=500, url="http://127.0.0.1/v1/calls/active")
REFUSED = AuthenticationError("hash is wrong", status=403, url="http://127.0.0.1/v1/calls/active")


def health(since: int | None = None, now: int = START) -> Health:
    return Health(1000, AFTER, since, {}, now)


def test_told_once_when_no_answer_was_readable_for_so_long() -> None:
    watched = health()
    told = [watched.unknown("active", BROKEN, START + at) for at in range(0, 120_000, 5_000)]
    assert [at for at, one in enumerate(told) if one is not None] == [AFTER // 5_000]
    (event,) = [one for one in told if one is not None]
    assert event.type == "account.degraded"
    assert (event.data.listing, event.data.reason, event.data.http_status) == ("active", "server_error", 500)
    assert millis(event.data.since) == START


def test_a_refused_key_is_told_of_at_once_but_not_for_one_refusal() -> None:
    watched = health()
    assert watched.unknown("active", REFUSED, START) is None
    assert watched.readable("active", START + 5_000) is None
    assert watched.unknown("active", REFUSED, START + 10_000) is None
    event = watched.unknown("active", REFUSED, START + 15_000)
    assert event is not None
    assert event.data.reason == "authentication_error"


def test_single_failures_between_readable_answers_are_not_told_of() -> None:
    watched = health()
    for at in range(0, 600_000, 10_000):
        assert watched.unknown("active", BROKEN, START + at) is None
        assert watched.readable("active", START + at + 5_000) is None


def test_it_has_recovered_once_every_list_is_read_well_for_a_while() -> None:
    watched = health(since=START - 60_000)
    told: list[Notice | None] = [watched.readable("active", START + at) for at in range(4)]
    assert told == [None] * 4
    assert watched.readable("completed", START + 5) is None
    assert watched.unknown("completed", BROKEN, START + 6) is None
    told = [watched.readable("completed", START + 7 + at) for at in range(5)]
    assert [at for at, one in enumerate(told) if one is not None] == [2]
    event = told[2]
    assert isinstance(event, AccountRecovered)
    assert millis(event.data.since) == START - 60_000


def test_the_time_in_which_the_gateway_was_down_is_not_held_against_the_account() -> None:
    down = Health(1000, AFTER, None, {"active": START - 3_600_000}, START)
    assert down.unknown("active", BROKEN, START) is None
    assert down.unknown("active", BROKEN, START + 5_000) is None
    event = down.unknown("active", BROKEN, START + AFTER)
    assert event is not None
    assert millis(event.data.since) == START - 3_600_000


@pytest.mark.parametrize("by", [3_600_000, -3_600_000])
def test_a_clock_that_is_set_makes_an_account_neither_silent_for_longer_nor_for_shorter(by: int) -> None:
    watched = health()
    watched.readable("active", START)
    assert watched.unknown("active", BROKEN, START + 5_000) is None
    watched.move(by)
    assert watched.unknown("active", BROKEN, START + by + AFTER - 1) is None
    event = watched.unknown("active", BROKEN, START + by + AFTER)
    assert event is not None
    assert millis(event.data.since) == START + by


def test_a_reading_by_another_machine_s_clock_is_not_of_the_future() -> None:
    ahead = Health(1000, AFTER, None, {"active": START + 3_600_000}, START)
    assert ahead.unknown("active", BROKEN, START + 5_000) is None
    event = ahead.unknown("active", BROKEN, START + AFTER)
    assert event is not None
    assert millis(event.data.since) == START


steps = st.lists(
    st.tuples(
        st.sampled_from(["active", "completed"]),
        st.sampled_from(["read", "broken", "refused", "restart"]),
        st.integers(1, 9_000),
    ),
    max_size=120,
)


@given(steps)
def test_degraded_and_recovered_alternate_whatever_comes(story: list[tuple[Listing, str, int]]) -> None:
    """Through restarts too; and no two events within less than it takes to be sure."""
    watched, now = health(), START
    told: list[Notice] = []
    for which, what, later in story:
        now += later
        if what == "restart":
            watched = health(watched.since, now)
            continue
        error: RingCloudError = BROKEN if what == "broken" else REFUSED
        event = watched.readable(which, now) if what == "read" else watched.unknown(which, error, now)
        if event is not None:
            told.append(event)
            assert isinstance(event, AccountRecovered) == (what == "read")
    for at, event in enumerate(told):
        assert isinstance(event, AccountDegraded if at % 2 == 0 else AccountRecovered)
    assert (watched.since is not None) == (len(told) % 2 == 1)
    assert len({event.id for event in told}) == len(told)
