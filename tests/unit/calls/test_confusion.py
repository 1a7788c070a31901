"""Calls of the same numbers that are hard to tell apart: their count stays right, and what could be wrong says so."""

from __future__ import annotations

import dataclasses

from tests.unit.calls.model import Wall
from tests.unit.calls.watched import GRACE, Watched, bounds, done, holds, live, types


def test_a_redial_within_the_bounds_of_the_first_start_makes_two_calls_not_three() -> None:
    """The first rang from 0.2 to 0.5; the second, from 1.3 on, looks like it in the next list and not in the one after."""
    account = Watched()
    account.active(0.3, live(0))
    account.completed(1.2, done(0.2, 0.5, "NO ANSWER"))
    account.active(5.3, live(4))
    account.completed(6.2, done(0.2, 0.5, "NO ANSWER"))
    account.active(10.6, live(9))
    account.active(20)
    account.completed(21, done(0.2, 0.5, "NO ANSWER"), done(1.3, 15.4))
    account.completed(60, done(0.2, 0.5, "NO ANSWER"), done(1.3, 15.4))
    assert types(account.events) == ["started", "started", "ended", "answered", "ended"]
    assert account.state.live() == 0
    assert account.events[-1].data.ambiguous


def test_what_was_in_the_last_list_goes_on_though_its_start_does_not_fit() -> None:
    account = Watched()
    account.active(10, live(4))
    # The list of 10 was complete: what is 20 s old at 15 was in it, and only one call was.
    assert account.active(15, live(20)) == []
    (call,) = account.state.calls.values()
    assert call.ambiguous
    account.active(25)
    account.completed(26, done(-5, 22))
    assert types(account.events) == ["started", "answered", "ended"]


def test_a_row_that_must_have_been_listed_is_of_a_listed_call_though_its_start_does_not_fit() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(20)
    answered, ended = account.completed(21, done(2, 18))
    assert types([answered, ended]) == ["answered", "ended"]
    assert ended.data.ambiguous
    assert account.state.live() == 0


def test_a_row_of_a_call_that_was_not_listed_is_none_of_a_listed_one() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(20)
    events = account.completed(21, done(11.5, 18, "BUSY"))
    assert types(events) == ["started", "ended"]
    assert account.state.live() == 1


def test_a_call_that_goes_on_is_not_taken_for_one_that_ended() -> None:
    """A row that an ended call of about the same start could have is the live one's, if that was in the last list."""
    account = Watched()
    account.active(0.3, live(0))
    account.active(5.3, live(4))
    account.completed(6.2, done(0.2, 0.5, "NO ANSWER"), done(1.9, 4, "BUSY", src="101"))
    account.active(10.6, live(9))
    assert account.state.live() == 1
    assert not account.state.gone


def test_of_twins_the_one_that_left_the_list_ended_first() -> None:
    account = Watched()
    account.active(4, live(3), live(3))
    account.active(9.6, live(9))
    (gone,) = account.state.gone
    # By its bounds it could be either's row; the other is still in the list.
    *_, ended = account.completed(10, done(0.5, 9.1))
    assert ended.type == "call.ended"
    assert ended.subject == gone
    account.active(20)
    account.completed(21, done(0.5, 9.1), done(0.5, 11))
    assert types(account.events).count("started") == types(account.events).count("ended") == 2


def test_a_row_that_waits_holds_up_no_other_of_its_numbers() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(60)
    account.active(65, live(1))
    # The second may be over, or this may be a short call beside it; the first has nothing to do with that.
    assert types(account.completed(66, done(6, 50), done(63.2, 65.9))) == ["answered", "ended"]
    assert account.diff.deferred
    account.active(70)
    assert types(account.completed(71, done(6, 50), done(63.2, 65.9))) == ["answered", "ended"]
    assert not account.diff.deferred


def test_a_call_whose_row_may_wait_does_not_end_by_absence() -> None:
    """With a tolerance the second's row could be the first's too, and it waits for the next active list."""
    account = Watched(tolerance=10_000)
    account.active(10, live(4))
    account.active(15)
    account.active(25, live(6))
    rows = [done(6, 12, "BUSY"), done(18.5, 25.9, "BUSY")]
    assert account.completed(16 + GRACE, *rows) == []
    assert account.diff.deferred
    account.active(50)
    account.completed(51, *rows)
    assert types(account.events) == ["started", "started", "ended", "ended"]
    assert {event.data.disposition for event in account.events[2:]} == {"BUSY"}


def test_twins_are_not_blurred_with_others_of_their_numbers() -> None:
    account = Watched()
    account.active(10, live(4), live(4))
    account.active(500, live(494), live(494), live(3), live(3))
    account.active(505, live(499), live(8))
    calls = account.state.calls.values()
    assert [call.ambiguous for call in calls] == [True] * 4
    assert all(call.start.received - call.start.sent < 10_000 for call in calls)


def test_bounds_of_a_confused_call_s_later_events_hold() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(15, live(20))
    account.active(25)
    answered, ended = account.completed(26, done(-5, 22))
    assert bounds(answered)[0] <= -5
    assert bounds(ended)[0] <= 22 <= bounds(ended)[1]


def test_twins_that_both_left_the_list_may_each_have_ended_when_the_other_did() -> None:
    account = Watched()
    account.active(4.9, live(4), live(4))
    account.active(10, live(9))
    account.active(15)
    # By its bounds it may be either's, whichever of them it is given to.
    assert types(account.completed(19, done(0.5, 10))) == ["answered", "ended"]
    assert types(account.completed(24, done(0.5, 10), done(0.5, 13))) == ["answered", "ended"]
    account.completed(60, done(0.5, 10), done(0.5, 13))
    assert types(account.events) == ["started", "started", "answered", "ended", "answered", "ended"]
    assert all(event.data.ambiguous for event in account.events[2:])


def test_a_row_that_may_have_been_the_ended_call_s_own_says_so_and_so_do_that_call_s_corrections() -> None:
    """Seen for a moment at 10, then two rows, one after the other: either may be its own, the other's was never seen."""
    account = Watched()
    account.active(4)
    account.active(10, live(0))
    account.active(15)
    first = account.completed(16, done(9.5, 12, "BUSY"))
    assert types(first) == ["ended"]
    assert not first[0].data.ambiguous
    second = account.completed(21, done(9.5, 12, "BUSY"), done(10.5, 13, "BUSY"))
    assert types(second) == ["started", "ended"]
    assert all(event.data.ambiguous for event in second)
    (updated,) = account.completed(26, done(9.5, 12, "BUSY", rec_file="/r"), done(10.5, 13, "BUSY"))
    assert updated.data.ambiguous


def test_it_says_so_too_where_the_second_row_is_minutes_late() -> None:
    account = Watched()
    account.active(4)
    account.active(10, live(0))
    account.active(15)
    assert types(account.completed(16, done(9.5, 12, "BUSY"))) == ["ended"]
    for at in range(20, 500, 5):
        account.active(at)
    late = account.completed(501, done(9.5, 12, "BUSY"), done(10.5, 13, "BUSY"))
    assert types(late) == ["started", "ended"]
    assert all(event.data.ambiguous for event in late)
    account.active(617)
    assert account.state.calls != {}
    account.active(1_200)
    # Its row is no later than the list was read.
    assert account.state.calls != {}
    account.completed(1_201, done(9.5, 12, "BUSY"), done(10.5, 13, "BUSY"))
    account.active(1_205)
    assert account.state.calls == {}


def test_a_row_whose_call_must_have_been_listed_leaves_no_doubt_about_a_later_one() -> None:
    account = Watched()
    account.active(5)
    account.active(10, live(2))
    account.active(15)
    account.completed(16, done(8, 13, "BUSY"))
    events = account.completed(21, done(8, 13, "BUSY"), done(10.5, 13, "BUSY"))
    assert types(events) == ["started", "ended"]
    assert not any(event.data.ambiguous for event in account.events)


def test_an_answered_row_is_of_the_twin_that_was_told_answered() -> None:
    """One rings, one talks; then one that talks. Whichever ends first by its row, one was answered."""
    account = Watched()
    account.active(10, live(4, "ringing"), live(4, "answered"))
    account.active(15, live(9, "answered"))
    account.active(20)
    account.completed(21, done(6, 18))
    account.completed(26, done(6, 18), done(6, 12, "NO ANSWER"))
    assert types(account.events) == ["started", "started", "answered", "ended", "ended"]
    assert {event.data.disposition: event.data.answered for event in account.events if event.type == "call.ended"} == {
        "ANSWERED": True,
        "NO ANSWER": False,
    }


def test_a_ringing_row_is_of_no_call_that_was_answered() -> None:
    account = Watched()
    account.active(10, live(4, "ringing"), live(4, "answered"))
    account.active(15, live(9, "ringing"))
    account.active(20)
    account.completed(21, done(6, 12), done(6, 18, "NO ANSWER"))
    assert types(account.events) == ["started", "started", "answered", "ended", "ended"]


def test_a_row_that_contradicts_a_short_call_s_answer_waits_for_another() -> None:
    """Seen talking at 10. A row of a call that was not answered may be another's, until the grace period is over."""
    for own in (True, False):
        account = Watched()
        account.active(5)
        account.active(10, live(0, "answered"))
        account.active(15)
        busy = done(9.5, 12, "BUSY")
        assert account.completed(16, busy) == []
        assert account.diff.deferred
        if own:
            assert types(account.completed(21, busy, done(9.5, 13))) == ["started", "ended", "ended"]
        else:
            assert types(account.completed(16 + GRACE, busy)) == ["ended"]


def test_a_redial_that_rings_is_not_the_call_that_was_answered() -> None:
    """The first talked from 9.8 to 10.4; the second began at 10.6, which by its bounds may be the first's start."""
    account = Watched()
    account.active(5)
    account.active(10, live(0, "answered"))
    assert types(account.active(15, live(4, "ringing"))) == ["started"]
    account.active(20)
    account.completed(21, done(9.6, 10.4), done(10.6, 18, "NO ANSWER"))
    assert types(account.events).count("answered") == 1
    assert types(account.events).count("started") == types(account.events).count("ended") == 2


def test_lists_of_two_calls_that_could_be_of_one_are_told_as_one_and_say_so() -> None:
    """Nobody can tell these worlds apart before the rows come: a call that began at 9.95 and was answered; or one that
    rang from 9.2 until just before the second list, and another, answered, from 10.05 on."""
    told = []
    for rows in [(done(9, 21),), (done(9, 14, "NO ANSWER"), done(10, 21))]:
        account = Watched()
        account.active(5)
        account.active(10, live(0, "ringing"))
        account.active(15.1, live(4, "answered"))
        told.append(list(account.events))
        account.active(25)
        account.completed(26, *rows)
        assert types(account.events).count("started") == types(account.events).count("ended") == len(rows)
    assert told[0] == told[1]
    assert types(told[0]) == ["started", "answered"]
    assert told[0][1].data.ambiguous


def test_a_row_that_comes_a_second_time_is_another_call() -> None:
    account = Watched()
    others = [done(1, 2, "BUSY", src="300")]
    account.completed(21, done(6, 18), *others)
    assert types(account.completed(26, done(6, 18), done(6, 18), *others)) == ["started", "answered", "ended"]
    assert account.completed(31, done(6, 18), done(6, 18), *others) == []
    assert account.completed(36, done(6, 18), *others) == []


def test_of_two_rows_of_one_moment_the_one_that_changed_is_corrected() -> None:
    account = Watched()
    account.completed(21, done(6, 12, "BUSY"), done(6, 18))
    (updated,) = account.completed(26, done(6, 12, "BUSY"), done(6, 18, rec_file="/r"))
    assert updated.data.changed == ("rec_file",)
    assert updated.data.disposition == "ANSWERED"


def test_an_instant_of_the_hour_that_comes_twice_is_not_all_the_time_between_the_two() -> None:
    """The row's call is from 100 to 200 or from 3,700 to 3,800; the one that was seen, from 996 on, is neither."""
    account = Watched()
    account.active(1_000, live(4))
    account.active(2_990, live(1_994))
    account.active(3_005, live(5, src="300"))
    row = done(100, 200, "BUSY")
    later = done(3_700, 3_800)
    row = dataclasses.replace(
        row, start=Wall(row.start.earliest, later.start.latest), end=Wall(row.end.earliest, later.end.latest)
    )
    (known,) = account.state.gone
    started, ended = account.completed(3_010, row)
    assert types([started, ended]) == ["started", "ended"]
    assert started.subject != known
    # It can't be from 3,700 on, as it is over.
    assert bounds(ended)[1] < 210
    assert not ended.data.ambiguous


def test_a_row_that_a_call_of_its_end_is_rightly_in_is_of_no_other() -> None:
    """The list was made just before the first ended, and came after that was told; the second had ended by then."""
    account = Watched()
    account.active(5, live(5), live(1))
    assert types(account.completed(10.05, done(0, 10))) == ["answered", "ended"]
    account.active(10, live(10))
    (second,) = account.state.gone
    assert not account.state.calls[second].ambiguous
    account.active(15)
    answered, ended = account.completed(15.1, done(0, 10), done(4, 8))
    assert (answered.subject, ended.subject) == (second, second)
    assert not ended.data.ambiguous
    assert (bounds(ended)[0] <= 8, bounds(ended)[1] < 10) == (True, True)


def test_a_list_that_shows_an_ended_call_after_its_end_may_have_shown_another() -> None:
    """As before, but the list was made after the end: what it shows began at another's moment, or is that other."""
    account = Watched()
    account.active(5, live(5), live(1))
    account.completed(8.05, done(0, 8))
    account.active(12, live(12))
    (second,) = (call for call in account.state.calls.values() if call.ended is None)
    assert second.gone is None
    assert second.ambiguous


def test_a_row_waits_where_the_last_list_may_have_shown_the_twin_that_has_ended_since() -> None:
    """One ended at 8, the other at 10.2, just after the list of 10; the row of the first comes late."""
    account = Watched()
    account.active(5, live(4), live(4))
    account.active(10, live(9))
    assert types(account.completed(12, done(1, 10))) == ["answered", "ended"]
    # By the list of 10 the other goes on, and ended no sooner; but that list may have shown the one that has ended.
    assert account.completed(14, done(1, 10), done(1, 8)) == []
    assert account.diff.deferred
    account.restart()
    account.active(15)
    last = account.completed(17, done(1, 10), done(1, 8))
    assert types(last) == ["answered", "ended"]
    assert all(event.data.ambiguous for event in last)
    assert holds(last[1], 8)
    assert types(account.events).count("started") == types(account.events).count("ended") == 2
    assert account.state.live() == 0


def test_a_row_does_not_wait_where_a_later_list_shows_that_the_twin_goes_on() -> None:
    """It goes on in a list that was asked for after the end was seen, so the row is of a call never seen."""
    account = Watched()
    account.active(5, live(4), live(4))
    account.active(10, live(9))
    account.completed(12, done(1, 10))
    account.active(15, live(14))
    whole = account.completed(16, done(1, 10), done(1, 4))
    assert types(whole) == ["started", "answered", "ended"]
    assert account.state.live() == 1


def test_a_row_waits_no_longer_than_a_grace_period_for_lists_that_never_come() -> None:
    account = Watched()
    account.active(5, live(4), live(4))
    account.active(10, live(9))
    account.completed(12, done(1, 10))
    rows = done(1, 10), done(1, 8)
    assert account.completed(14, *rows) == []
    assert types(account.completed(10 + GRACE, *rows)) == ["started", "answered", "ended"]
