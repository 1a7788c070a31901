"""The differ's laws, each as a short story of one account."""

from __future__ import annotations

import pytest

from gateway.contract.events import Evidence
from tests.unit.calls.model import Active, Completed, Wall
from tests.unit.calls.watched import ALONE, BEGIN, EMPTIED, GRACE, Watched, bounds, done, holds, live, ms, types


def test_law_1_an_empty_list_makes_calls_gone_but_ends_none_by_itself() -> None:
    account = Watched()
    account.active(10, live(4))
    for at in range(15, 300, 5):
        assert account.active(at) == []
    assert account.state.live() == 1
    assert len(account.state.gone) == 1


def test_law_1_an_empty_list_is_a_real_answer() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(15)
    account.completed(15 + ALONE + 1)
    assert types(account.events) == ["started", "ended"]


def test_law_1_what_was_not_answered_ends_nothing() -> None:
    account = Watched()
    account.active(10, live(4))
    account.completed(12)
    # Every active list since is unknown, so never given; completed ones are read well.
    account.completed(500)
    assert types(account.events) == ["started"]
    account.active(505, live(499))
    assert types(account.events) == ["started"]


def test_law_2_a_call_first_seen_gets_an_id_that_is_kept() -> None:
    account = Watched()
    (started,) = account.active(10, live(4))
    assert account.active(15, live(9)) == []
    account.restart()
    assert account.active(20, live(14)) == []
    assert list(account.state.calls) == [started.subject]


def test_law_2_three_identical_calls_stay_three() -> None:
    account = Watched()
    started = account.active(10, live(4), live(4), live(4))
    assert types(started) == ["started"] * 3
    assert len({event.subject for event in started}) == 3
    assert account.active(15, live(9), live(9), live(9)) == []

    account.active(20, live(14), live(14))
    assert len(account.state.gone) == 1
    assert types(account.completed(21, done(6, 18))) == ["answered", "ended"]
    assert account.state.live() == 2

    account.active(25)
    account.completed(26, done(6, 18), done(6, 23), done(6, 24))
    ended = [event.subject for event in account.events if event.type == "call.ended"]
    assert sorted(ended) == sorted(event.subject for event in started)


def test_law_2_three_identical_short_calls_are_three() -> None:
    account = Watched()
    account.active(1)
    account.active(6)
    events = account.completed(7, *[done(2, 4)] * 3)
    assert types(events) == ["started", "answered", "ended"] * 3
    assert len({event.subject for event in events}) == 3
    assert account.completed(12, *[done(2, 4)] * 3) == []


@pytest.mark.parametrize(
    "other", [live(9, src="102"), live(9, dst="203"), live(9, src="202", dst="101"), live(2), live(30)]
)
def test_law_2_a_row_of_other_numbers_or_start_is_another_call(other: Active) -> None:
    account = Watched()
    account.active(10, live(4))
    assert types(account.active(15, live(9), other)) == ["started"]
    assert account.state.live() == 2


def test_law_2_starts_further_apart_than_known_fit_within_the_tolerance() -> None:
    strict, tolerant = Watched(), Watched(tolerance=10_000)
    for account in (strict, tolerant):
        account.active(10, live(4))
    assert types(strict.active(15, live(2))) == ["started"]
    assert types(tolerant.active(15, live(2))) == []


def test_law_3_the_completed_row_confirms_the_end() -> None:
    account = Watched()
    account.active(10, live(4))
    assert account.active(15) == []
    answered, ended = account.completed(16, done(6, 13.2, rec_file="/r/1.wav"))
    assert types([answered, ended]) == ["answered", "ended"]
    assert ended.data.evidence is Evidence.COMPLETE
    assert ended.data.disposition == "ANSWERED"
    assert ended.data.duration == 7
    assert ended.data.rec_file == "/r/1.wav"
    assert ended.data.direction == "incoming"
    assert ended.data.answered is True
    assert holds(ended, 13.2)
    assert account.state.live() == 0


def test_law_3_without_a_row_the_call_ends_by_absence_a_day_after_it_was_seen() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(15)
    assert account.completed(9.9 + ALONE) == []
    (ended,) = account.completed(10.1 + ALONE)
    assert ended.type == "call.ended"
    assert ended.data.evidence is Evidence.ABSENCE
    assert ended.data.disposition is None
    assert ended.data.answered is None
    # Seen in the list asked for at 10. Those since may have been wrong.
    assert bounds(ended) == (10.0, 10.2 + ALONE)


def test_law_3_a_list_with_other_calls_proves_that_a_call_is_gone() -> None:
    account = Watched()
    account.active(10, live(4), live(4, src="300"))
    account.active(15, live(9, src="300"))
    other = done(2, 7, src="400")
    assert types(account.completed(15 + GRACE, other)) == ["started", "answered", "ended"]
    assert types(account.completed(15.2 + GRACE, other)) == ["ended"]
    assert account.state.live() == 1


def test_law_3_a_list_with_other_calls_before_proves_nothing() -> None:
    account = Watched()
    account.active(10, live(4), live(4, src="300"))
    other = done(2, 7, src="400")
    account.completed(11, other)
    account.active(15)
    assert account.completed(16 + GRACE, other) == []
    account.active(17 + GRACE, live(1, src="400"))
    assert account.completed(18 + GRACE, other) == []
    assert types(account.completed(18 + 2 * GRACE, other)) == ["ended", "ended"]


def test_law_3_an_empty_completed_list_alone_ends_nothing_for_ten_grace_periods() -> None:
    account = Watched()
    account.active(10, live(4), live(4, src="300"))
    account.active(15, live(9, src="300"))
    assert account.completed(16 + GRACE) == []
    assert account.same_completed(15 + EMPTIED) == []
    (ended,) = account.same_completed(16 + EMPTIED)
    # Seen in the list asked for at 10, missing from the one that came at 15.1.
    assert (ended.type, bounds(ended)) == ("call.ended", (10.0, 15.1))


def test_law_1_an_active_list_that_is_falsely_empty_for_minutes_ends_nothing() -> None:
    account = Watched()
    account.active(10, live(4), live(4, src="300"))
    account.completed(11, done(2, 7, src="400"))
    for at in range(15, 300, 5):
        assert account.active(at) == account.completed(at + 1, done(2, 7, src="400")) == []
    assert account.active(300, live(294), live(294, src="300")) == []
    account.active(310)
    account.completed(311, done(6, 305), done(6, 304, src="300"))
    assert types(account.events[5:]) == ["answered", "ended"] * 2


def test_law_1_a_completed_list_that_is_falsely_empty_is_unknown() -> None:
    account = Watched()
    account.active(10, live(4))
    account.completed(11, done(2, 7, src="400"))
    account.active(15, live(1, src="300"))
    reading = account.state.mark.completed
    for at in range(16, 200, 5):
        assert account.completed(at) == []
        assert account.diff.deferred
    # Nor does it count as a reading: what ended since the last is asked for still.
    assert account.state.mark.completed == reading
    assert types(account.completed(201, done(2, 7, src="400"), done(6, 12))) == ["answered", "ended"]


def test_law_1_a_completed_list_that_stays_empty_is_believed() -> None:
    account = Watched()
    account.active(10, live(4))
    account.completed(11, done(2, 7, src="400"))
    account.active(15, live(1, src="300"))
    assert account.completed(16) == []
    assert types(account.completed(17 + EMPTIED)) == ["ended"]


def test_law_1_what_ended_since_is_asked_for_through_a_day_of_empty_completed_lists() -> None:
    account = Watched()
    account.completed(11, done(2, 7, src="400"))
    reading = account.state.mark.completed
    account.completed(16)
    for at in (17 + EMPTIED, 15 + ALONE):
        account.same_completed(at)
        assert account.state.mark.completed == reading
    assert types(account.completed(15.5 + ALONE, done(2, 7, src="400"), done(20, 30))) == [
        "started",
        "answered",
        "ended",
    ]
    account.completed(20 + ALONE)
    last = account.state.mark.completed
    account.same_completed(21 + 2 * ALONE)
    assert account.state.mark.completed != last


def test_law_1_both_lists_falsely_empty_for_hours_end_no_call() -> None:
    account = Watched()
    account.active(10, live(4), live(4, src="300"))
    account.completed(11, done(2, 7, src="400"))
    account.active(15)
    account.completed(16)
    for at in range(20, 7_200, 60):
        assert account.same_active(at) == account.same_completed(at + 1) == []
    assert account.active(7_200, live(7_194)) == []
    # The list with the other in it proves that this one is gone, but not that the lists before were right.
    rows = [done(2, 7, src="400")]
    (ended,) = account.completed(7_201 + GRACE, *rows)
    assert (ended.data.src, ended.data.evidence) == ("300", Evidence.ABSENCE)
    assert bounds(ended) == (10.0, 7_200.1)
    account.active(7_300)
    assert types(account.completed(7_301, *rows, done(6, 7_210))) == ["answered", "ended"]


def test_law_3_absence_is_found_in_an_unchanged_list_too() -> None:
    account = Watched()
    account.active(10, live(4))
    account.completed(11)
    account.active(15)
    assert types(account.same_completed(16 + ALONE)) == ["ended"]


def test_law_3_an_end_by_absence_is_corrected_and_never_given_again() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(15)
    account.completed(16 + ALONE)
    (updated,) = account.completed(100_000, done(6, 12.5))
    assert updated.type == "call.updated"
    assert updated.data.disposition == "ANSWERED"
    assert updated.data.answered is True
    assert holds(updated, 12.5)
    assert account.completed(100_005, done(6, 12.5)) == []
    assert types(account.events) == ["started", "ended", "updated"]


def test_law_3_a_call_that_comes_back_after_a_false_empty_list_goes_on() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(15)
    account.completed(16)
    assert account.active(20, live(14)) == []
    assert not account.state.gone
    # Its absence does not count from the false list on.
    assert account.completed(21 + GRACE) == []
    account.active(60)
    account.completed(61, done(6, 57.5))
    assert types(account.events) == ["started", "answered", "ended"]


def test_law_3_a_call_in_the_list_is_not_ended_by_absence_however_old() -> None:
    account = Watched()
    for at in range(10, 4_000, 100):
        account.active(at, live(at - 6))
        account.completed(at + 1)
    assert types(account.events) == ["started"]


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ("ANSWERED", ["started", "answered", "ended"]),
        ("NO ANSWER", ["started", "ended"]),
        ("BUSY", ["started", "ended"]),
        ("FAILED", ["started", "ended"]),
    ],
)
def test_law_4_a_call_never_seen_active_has_its_whole_life(disposition: str, expected: list[str]) -> None:
    account = Watched()
    account.active(10)
    account.completed(10.5)
    account.active(15)
    events = account.completed(15.5, done(11.3, 13.8, disposition))
    assert types(events) == expected
    assert len({event.subject for event in events}) == 1
    assert holds(events[0], 11.3)
    assert holds(events[-1], 13.8)
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert {event.data.evidence for event in events} == {Evidence.COMPLETE}
    assert account.active(20) == account.completed(20.5, done(11.3, 13.8, disposition)) == []


def test_law_4_a_row_that_may_be_a_short_call_beside_a_live_one_waits_for_the_next_active_list() -> None:
    account = Watched()
    account.active(10)
    account.active(15, live(4))
    # Another call of these numbers, begun in the same second and over before the list: or is it the live one's row?
    assert account.completed(15.5, done(11, 15.3)) == []
    waits = account.diff.deferred
    assert waits
    account.active(20, live(9))
    assert types(account.completed(20.5, done(11, 15.3))) == ["started", "answered", "ended"]
    assert not account.diff.deferred
    assert account.state.live() == 1


def test_law_5_a_live_row_s_status_answers_the_call() -> None:
    account = Watched()
    account.active(10, live(4, "ringing"))
    account.active(15, live(9, "ringing"))
    (answered,) = account.active(20, live(14, "answered"))
    assert answered.type == "call.answered"
    assert answered.data.evidence is Evidence.STATUS
    # It still rang in the list asked for at 15.
    assert bounds(answered) == (15.0, 20.1)
    assert account.active(25, live(19, "answered")) == []
    account.active(30)
    account.completed(31, done(6, 27))
    assert types(account.events) == ["started", "answered", "ended"]


def test_law_5_a_call_first_seen_answered_is_answered_at_once() -> None:
    account = Watched()
    started, answered = account.active(10, live(4, "answered"))
    assert types([started, answered]) == ["started", "answered"]
    assert bounds(answered) == (bounds(started)[0], 10.1)


def test_law_5_a_status_that_proves_nothing_answers_nothing() -> None:
    account = Watched()
    account.active(10, live(4, "current"))
    account.active(15, live(9, "on air"))
    assert types(account.events) == ["started"]


def test_law_5_the_rules_extend_the_statuses_that_answer() -> None:
    account = Watched(answered_statuses=frozenset({"on air"}))
    account.active(10, live(4, "current"))
    assert types(account.active(15, live(9, "on air"))) == ["answered"]


def test_law_5_otherwise_the_disposition_answers_just_before_the_end() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(15)
    answered, ended = account.completed(16, done(6, 13))
    assert types([answered, ended]) == ["answered", "ended"]
    assert answered.data.evidence is Evidence.COMPLETE
    assert answered.data.sequence + 1 == ended.data.sequence
    assert answered.time <= ended.time


def test_law_6_a_restart_forgets_nothing() -> None:
    account = Watched()
    account.active(10, live(4, "ringing"), live(2, src="300"))
    account.completed(11, done(7, 9, src="400"))
    account.restart()
    assert account.active(20, live(14, "ringing"), live(12, src="300")) == []
    assert account.completed(21, done(7, 9, src="400")) == []


def test_law_6_rows_over_the_downtime_give_what_was_missed_in_order() -> None:
    account = Watched()
    account.active(10, live(4))
    account.completed(11)
    account.restart()
    account.active(7_200, live(3, src="500"))
    rows = [done(60 * n, 60 * n + 20, "NO ANSWER", src=str(600 + n)) for n in range(1, 100)]
    missed = account.completed(7_201, *reversed(rows), done(6, 900))
    first = [event for event in missed if event.data.src == "101"]
    assert types(first) == ["answered", "ended"]
    others = [event for event in missed if event.data.src != "101"]
    assert types(others) == ["started", "ended"] * 99
    assert [int(event.data.src) for event in others[::2]] == list(range(601, 700))
    assert account.completed(7_206, *reversed(rows), done(6, 900)) == []


def test_law_6_what_ended_before_the_first_poll_is_history() -> None:
    account = Watched(since=1_000)
    assert account.completed(1_000, done(10, 400), done(500, 997)) == []
    # Nor does it become news when RingCloud corrects it, nor after a restart.
    assert account.completed(1_005, done(10, 400, rec_file="/r/1.wav"), done(500, 997)) == []
    account.active(1_010)
    account.restart()
    assert account.completed(1_015, done(10, 400, rec_file="/r/2.wav"), done(500, 997)) == []


def test_law_6_a_call_under_way_at_the_first_poll_is_none_of_history() -> None:
    account = Watched(since=1_000)
    account.completed(1_000)
    account.active(1_001)
    account.active(1_006)
    assert types(account.completed(1_010, done(400, 1_000.9))) == ["started", "answered", "ended"]


def test_law_8_an_unchanged_answer_changes_nothing_and_writes_nothing() -> None:
    account = Watched()
    account.active(10, live(4))
    account.completed(11, done(2, 7, src="300"))
    before = account.state
    assert account.same_completed(16) == []
    assert account.diff.parts == {}
    assert account.same_active(16) == []
    assert account.diff.parts == {}
    assert account.state.calls == before.calls
    assert account.state.done == before.done


def test_law_8_an_unchanged_empty_active_list_shows_that_nothing_was_there() -> None:
    account = Watched()
    account.active(5)
    account.same_active(10)
    account.active(15, live(3))
    account.active(20)
    (_, ended) = account.completed(21, done(12, 19))
    assert holds(ended, 19)
    account.same_active(30)
    assert account.state.mark.active is not None
    assert account.state.mark.active.sent == ms(30)


def test_law_8_an_unchanged_active_list_with_rows_was_not_made_afresh() -> None:
    account = Watched()
    account.active(10, live(4))
    account.same_active(15)
    account.active(20)
    # It may have ended just after the list of 10 was made.
    account.completed(21 + ALONE)
    assert bounds(account.events[-1])[0] == 10.0


@pytest.mark.parametrize("skew", [-600_000, -3_700, 0, 450, 599_000])
def test_law_9_the_two_clocks_need_not_agree(skew: int) -> None:
    account = Watched(skew=skew)
    for at in (1.0, 6.3, 11.6):
        account.active(at)
        account.completed(at + 2.6)
    assert account.state.mark.skew.low <= skew <= account.state.mark.skew.high
    assert account.state.mark.skew.high - account.state.mark.skew.low < 1_300
    account.active(16, live(3))
    account.active(21)
    ends = account.completed(21.5, done(12.4, 18.1, skew=skew), done(18.7, 20.2, src="300", skew=skew))
    assert types(ends) == ["answered", "ended", "started", "answered", "ended"]
    by_end = {event.data.src: event for event in ends if event.type == "call.ended"}
    assert holds(by_end["101"], 18.1)
    assert holds(by_end["300"], 20.2)
    assert bounds(by_end["300"])[1] - bounds(by_end["300"])[0] < 3.5


def twice(second: float) -> Wall:
    """A time that the wall clock shows twice, an hour apart, and was this second's the second time."""
    return Wall(ms(second) - 3_600_000, ms(second))


@pytest.mark.parametrize("second_time", [True, False])
def test_law_9_bounds_hold_in_the_hour_that_comes_twice(second_time: bool) -> None:
    at = 7_200.0 if second_time else 3_600.0
    row = Completed("300", "202", "incoming", twice(7_200), twice(7_210), 10, "ANSWERED")
    account = Watched()
    account.active(1)
    started, answered, ended = account.completed(7_300, row)
    assert holds(started, at)
    assert holds(ended, at + 10)
    assert bounds(answered)[0] <= at
    assert bounds(answered)[1] >= at + 10


def test_law_9_a_known_call_is_matched_in_the_hour_that_comes_twice() -> None:
    account = Watched()
    account.active(7_203, live(3))
    account.active(7_213)
    row = Completed("101", "202", "incoming", twice(7_200), twice(7_210), 10, "ANSWERED")
    assert types(account.completed(7_214, row)) == ["answered", "ended"]
    assert account.state.live() == 0


def test_times_are_whole_milliseconds_of_the_epoch() -> None:
    assert ms(0.5) == BEGIN + 500
