"""Rows that were given to one call and may have been another's: when the next row shows it, what is told says so."""

from __future__ import annotations

from tests.unit.calls.watched import Watched, bounds, done, holds, live, types


def test_a_call_that_an_empty_list_alone_lacked_may_have_gone_on_when_a_row_ended_it() -> None:
    """One runs from 4 to 24; another, from 4.9 to 10.5, was in no list. The list of 15 is empty by a fault."""
    account = Watched()
    account.active(5)
    account.active(10.4, live(6))
    account.active(15)
    (ended,) = account.completed(16, done(4.9, 10.5, "BUSY"))
    assert not ended.data.ambiguous
    last = account.completed(26, done(4.9, 10.5, "BUSY"), done(4, 24, "BUSY"))
    assert types(last) == ["started", "ended"]
    assert all(event.data.ambiguous for event in last)
    # As either may be the one that was told of first.
    assert holds(last[0], 4)
    assert holds(last[0], 4.9)


def test_once_a_list_with_other_calls_lacks_it_too_there_is_no_such_doubt() -> None:
    account = Watched()
    account.active(5)
    account.active(10.4, live(6))
    account.active(15)
    account.completed(16, done(4.9, 10.5, "BUSY"))
    account.active(20, live(3, src="300"))
    last = account.completed(26, done(4.9, 10.5, "BUSY"), done(4, 24, "BUSY"))
    assert types(last) == ["started", "ended"]
    assert not any(event.data.ambiguous for event in last)


def test_of_twins_either_may_be_the_one_that_empty_lists_alone_lack() -> None:
    """The one that rang left the list for good, so the row of the one that talks on may come whenever it will."""
    account = Watched()
    account.active(5)
    account.active(10, live(4, "ringing"), live(4, "answered"))
    account.active(15, live(9, "answered"))
    account.active(20)
    first = account.completed(20.2, done(6, 14.9))
    second = account.completed(25.2, done(6, 14.9), done(6, 24.5))
    assert types(first) == ["ended"]
    assert types(second) == ["answered", "ended"]
    assert account.state.live() == 0
    assert all(event.data.ambiguous for event in first + second)


def test_a_row_that_nothing_else_was_left_for_may_have_been_of_the_other_call() -> None:
    """Two are known when the rows of two come, one of which no list has shown; then comes the row of a third."""
    account = Watched()
    account.active(5)
    account.active(10, live(3, "ringing"), live(1, "answered"))
    account.active(15, live(8, "ringing"))
    never_seen, second = done(10.5, 13), done(8.5, 14.6)
    assert types(account.completed(16.2, never_seen, second)) == ["answered", "ended", "ended"]
    assert account.state.live() == 0
    account.restart()
    third = account.completed(21.2, never_seen, second, done(6.5, 18.3, "NO ANSWER"))
    assert types(third) == ["started", "ended"]
    assert all(event.data.ambiguous for event in third)
    # It is told of as the third, and may be either of the others, that which no list has shown as well.
    assert all(holds(third[0], begun) for begun in (6.5, 8.5, 10.5))


def test_what_a_list_showed_of_a_call_that_had_ended_may_go_on_as_another() -> None:
    """One ends as the next begins, so that the next list seems to be behind; and a third begins."""
    account = Watched()
    account.active(5)
    account.active(10.4, live(1, "ringing"))
    assert types(account.completed(13.5, done(8.3, 13.2))) == ["answered", "ended"]
    assert types(account.active(15, live(4, "answered"), live(3, "ringing"))) == ["started"]
    (answered,) = account.active(20.6, live(9, "answered"))
    assert answered.type == "call.answered"
    assert answered.data.ambiguous


def test_a_list_that_shows_both_leaves_no_doubt_which_goes_on() -> None:
    account = Watched()
    account.active(5)
    account.active(10.4, live(1, "ringing"))
    account.completed(13.5, done(8.3, 13.2))
    account.active(15, live(4, "answered"), live(3, "ringing"))
    assert account.active(20, live(9, "answered"), live(8, "ringing")) == []
    (third,) = (call for call in account.state.calls.values() if call.ended is None)
    assert not third.ambiguous


def test_an_outage_of_a_day_makes_no_one_forget_whose_row_it_may_have_been() -> None:
    day = 86_400.0
    account = Watched()
    account.active(5)
    account.active(10.4, live(0))
    account.active(15)
    account.completed(16, done(9.9, 10.5, "BUSY"))
    account.active(20 + day)
    account.restart()
    late = account.completed(21 + day, done(9.9, 10.5, "BUSY"), done(9, 12, "BUSY"))
    assert types(late) == ["started", "ended"]
    assert all(event.data.ambiguous for event in late)
    assert bounds(late[0])[0] <= 9
