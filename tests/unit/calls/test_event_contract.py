"""What the contract promises of a call's events: ids, sequences, corrections, and facts that never go back."""

from __future__ import annotations

from datetime import UTC

import pytest

from gateway.contract.times import millis
from tests.unit.calls.model import Completed
from tests.unit.calls.watched import ALONE, Watched, bounds, done, holds, live, ms, types


def ended_call(*, disposition: str = "ANSWERED", status: str = "current") -> Watched:
    """A call of second 6 that was seen at 10 and 15 and has ended at 18."""
    account = Watched()
    account.active(10, live(4, status))
    account.active(15, live(9, status))
    account.active(20)
    account.completed(21, done(6, 18, disposition))
    return account


def test_an_id_is_the_call_id_and_the_sequence_without_a_dot() -> None:
    account = ended_call()
    account.completed(26, done(6, 18, rec_file="/r/1.wav"))
    assert [event.data.sequence for event in account.events] == [1, 2, 3, 4]
    for event in account.events:
        assert event.id == f"{event.subject}-{event.data.sequence}"
        assert event.sequence == str(event.data.sequence)
        assert event.subject == event.data.call_id
        assert "." not in event.id
        assert event.source == "/ringcloud/accounts/7"
        assert event.data.account == 7


def test_ids_of_calls_first_seen_later_sort_later() -> None:
    account = Watched()
    (first,) = account.active(10, live(4))
    (second,) = account.active(15, live(9), live(1, src="300"))
    account.active(20)
    rows = account.completed(21, done(6, 18), done(14, 16, src="300"), done(16, 19, src="400"))
    third = next(event for event in rows if event.data.src == "400")
    assert first.subject < second.subject < third.subject
    assert {len(event.subject) for event in account.events} == {26}


def test_sequences_go_on_after_a_restart() -> None:
    account = Watched()
    account.active(10, live(4, "ringing"))
    account.restart()
    account.active(15, live(9, "answered"))
    account.restart()
    account.active(20)
    account.restart()
    account.completed(21, done(6, 18))
    account.restart()
    account.completed(500, done(6, 18, rec_file="/r/1.wav"))
    assert [event.data.sequence for event in account.events] == [1, 2, 3, 4]
    assert len({event.subject for event in account.events}) == 1


def test_times_are_utc_within_bounds_and_not_after_they_were_observed() -> None:
    for event in ended_call(status="answered").events:
        assert event.time.tzinfo is UTC
        assert event.data.not_before <= event.time <= event.data.not_after <= event.data.observed_at
    assert [millis(event.data.observed_at) for event in ended_call().events] == [ms(at) for at in (10.1, 21.1, 21.1)]


def test_a_late_recording_gives_call_updated_naming_it() -> None:
    account = ended_call()
    (updated,) = account.completed(90, done(6, 18, rec_file="/r/1.wav"))
    assert updated.type == "call.updated"
    assert updated.data.changed == ("rec_file",)
    assert updated.data.rec_file == "/r/1.wav"
    assert updated.data.disposition == "ANSWERED"
    assert updated.subject == account.events[0].subject
    assert account.completed(95, done(6, 18, rec_file="/r/1.wav")) == []


def test_a_corrected_row_gives_call_updated_naming_all_that_changed() -> None:
    account = ended_call(disposition="NO ANSWER")
    (updated,) = account.completed(26, done(6, 17, "BUSY", rec_file="/r/1.wav"))
    assert updated.data.changed == ("time", "duration", "disposition", "rec_file")
    assert updated.data.duration == 11
    assert updated.data.disposition == "BUSY"
    assert holds(updated, 17)


@pytest.mark.parametrize("later", [26, 500, 100_000])
def test_corrections_are_of_the_same_call_however_late(later: float) -> None:
    account = ended_call()
    account.active(later)
    (updated,) = account.completed(later, done(6, 18, rec_file="/r/1.wav"))
    (again,) = account.completed(later + 300, done(6, 18, rec_file="/r/2.wav"))
    assert {event.subject for event in account.events} == {updated.subject}
    assert [updated.data.sequence, again.data.sequence] == [4, 5]


def test_a_correction_after_absence_names_what_was_not_known() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(20)
    account.completed(21 + ALONE)
    (updated,) = account.completed(100_000, done(6, 18, "BUSY"))
    assert updated.data.changed == ("time", "duration", "disposition")
    (recorded,) = account.completed(100_005, done(6, 18, "BUSY", rec_file="/r/1.wav"))
    assert recorded.data.changed == ("rec_file",)


def test_recordings_of_twins_are_given_to_the_call_with_that_end() -> None:
    account = Watched()
    account.active(1)
    first = account.completed(30, done(2, 10), done(2, 20))
    ends = {event.subject: event.data.duration for event in first if event.type == "call.ended"}
    updates = account.completed(35, done(2, 20, rec_file="/r/20.wav"), done(2, 10, rec_file="/r/10.wav"))
    assert types(updates) == ["updated"] * 2
    assert {event.data.changed for event in updates} == {("rec_file",)}
    assert {event.subject: event.data.duration for event in updates} == ends


@pytest.mark.parametrize("disposition", ["NO ANSWER", "BUSY", "FAILED"])
def test_a_live_answer_stands_whatever_the_disposition_says(disposition: str) -> None:
    account = ended_call(disposition=disposition, status="answered")
    assert types(account.events) == ["started", "answered", "ended"]
    assert account.events[-1].data.answered is True
    assert account.events[-1].data.disposition == disposition


@pytest.mark.parametrize("later", [26, 500])
def test_a_live_answer_stands_in_later_corrections(later: float) -> None:
    account = ended_call(disposition="NO ANSWER", status="answered")
    account.active(later)
    (updated,) = account.completed(later, done(6, 18, "NO ANSWER", rec_file="/r/1.wav"))
    assert updated.data.answered is True


@pytest.mark.parametrize("later", [26, 500])
def test_an_answer_told_stands_when_the_disposition_is_corrected(later: float) -> None:
    account = ended_call()
    account.restart()
    account.active(later)
    (updated,) = account.completed(later, done(6, 18, "NO ANSWER"))
    assert updated.data.changed == ("disposition",)
    assert updated.data.disposition == "NO ANSWER"
    assert updated.data.answered is True


def test_an_answer_told_after_absence_stands() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(20)
    account.completed(21 + ALONE)
    (first,) = account.completed(100_000, done(6, 18))
    (second,) = account.completed(100_005, done(6, 18, "NO ANSWER"))
    assert first.data.answered is second.data.answered is True


def test_a_call_corrected_to_answered_gets_no_answer_after_its_end() -> None:
    account = ended_call(disposition="NO ANSWER")
    (updated,) = account.completed(26, done(6, 18, "ANSWERED"))
    assert updated.data.answered is True
    assert types(account.events) == ["started", "ended", "updated"]


def test_a_stale_active_row_after_the_end_starts_nothing() -> None:
    account = ended_call()
    assert account.active(25, live(19)) == []
    assert account.active(30, live(24, "answered")) == []
    assert account.state.live() == 0


def test_a_stale_active_row_after_a_short_call_starts_nothing() -> None:
    account = Watched()
    account.active(10)
    account.completed(15, done(11, 14))
    assert account.active(16, live(5)) == []


def test_a_call_that_comes_back_after_it_ended_by_absence_stays_ended() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(15)
    account.completed(16 + ALONE)
    assert account.active(90_000, live(89_994, "answered")) == []
    account.active(90_010)
    assert types(account.completed(90_011, done(6, 90_005))) == ["updated"]
    assert types(account.events) == ["started", "ended", "updated"]


def test_an_answer_overtaken_by_a_later_one_is_ignored() -> None:
    account = Watched()
    account.active(20, live(14), live(3, src="300"))
    before = account.state
    assert account.active(19) == []
    assert account.active(18, live(2, src="999")) == []
    assert account.state.calls == before.calls
    assert account.state.mark.active == before.mark.active


def test_an_answer_of_long_before_is_by_another_clock() -> None:
    account = Watched()
    account.active(100, live(94))
    account.active(20, live(14, src="300"))
    assert account.state.mark.active is not None
    assert account.state.mark.active.sent == ms(20)
    assert types(account.events) == ["started", "started"]


def test_a_redial_of_the_same_numbers_is_another_call() -> None:
    account = ended_call()
    (again,) = account.active(30, live(5))
    assert again.type == "call.started"
    assert again.subject != account.events[0].subject
    assert not again.data.ambiguous
    account.active(40)
    account.completed(41, done(6, 18), done(25, 36, "BUSY"))
    second = [event for event in account.events if event.subject == again.subject]
    assert types(second) == ["started", "ended"]


def test_a_redial_between_two_active_lists_is_another_call() -> None:
    account = Watched()
    account.active(10, live(7))
    # The first ended at 11, the second began at 13.
    (again,) = account.active(15, live(2))
    assert again.type == "call.started"
    account.active(20)
    ends = account.completed(21, done(3, 11, "BUSY"), done(13, 18))
    assert {event.subject: event.data.disposition for event in ends if event.type == "call.ended"} == {
        account.events[0].subject: "BUSY",
        again.subject: "ANSWERED",
    }


def test_calls_that_can_be_told_apart_are_not_ambiguous() -> None:
    account = Watched()
    account.active(10, live(4), live(9, src="300"))
    account.active(20, live(19, src="300"))
    account.completed(21, done(6, 18), done(16, 18, src="400"))
    account.active(25)
    account.completed(26, done(6, 18), done(1, 22, src="300"))
    assert len(account.events) == 9
    assert not any(event.data.ambiguous for event in account.events)


def test_calls_that_could_not_be_told_apart_say_so_from_then_on() -> None:
    account = Watched()
    started = account.active(10, live(4), live(4))
    assert not any(event.data.ambiguous for event in started)
    account.active(15, live(9))
    account.active(20)
    ended = account.completed(21, done(6, 13, "NO ANSWER"), done(6, 18, "NO ANSWER"))
    assert types(ended) == ["ended", "ended"]
    assert all(event.data.ambiguous for event in ended)
    assert {event.subject for event in ended} == {event.subject for event in started}


def test_an_ambiguous_call_s_corrections_are_ambiguous() -> None:
    account = Watched()
    account.active(10, live(4), live(4))
    account.active(15)
    account.completed(16, done(6, 12), done(6, 14))
    for at in (21, 1_000):
        updates = account.completed(at, done(6, 12, rec_file=f"/{at}/1"), done(6, 14, rec_file=f"/{at}/2"))
        assert types(updates) == ["updated"] * 2
        assert all(event.data.ambiguous for event in updates)


def test_a_pair_that_fits_by_tolerance_alone_is_ambiguous() -> None:
    account = Watched(tolerance=5_000)
    account.active(10, live(4))
    account.active(20)
    ended = account.completed(21, done(12, 18))[-1]
    assert ended.type == "call.ended"
    assert ended.data.ambiguous


def test_a_row_far_longer_than_a_week_ends_its_call_once() -> None:
    """A channel that hung: its row stays listed by its end, long after the hour of its start."""
    days = 86_400.0
    row: Completed = done(10, 9 * days)
    account = Watched(since=8 * days)
    account.completed(8 * days)
    for n in range(1, 6):
        account.completed(9 * days + 300 * n, row)
    assert types(account.events) == ["started", "answered", "ended"]
    assert bounds(account.events[-1])[0] <= 9 * days
