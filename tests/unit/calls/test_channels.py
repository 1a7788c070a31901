"""What channels tell, each law as a short story of one account."""

from __future__ import annotations

import msgspec
import pytest

from gateway.calls.channels import read_channels
from gateway.calls.snapshots import Window
from gateway.calls.state import encode
from gateway.contract.events import CallEvent, Evidence
from gateway.contract.times import millis
from gateway.polling.channels import Legs
from gateway.ringcloud import Channel
from tests.unit.calls.watched import GRACE, TRAVEL, Watched, bounds, done, holds, live, ms, types

NUMBERS = ("101", "202")


def leg(
    slot: int, caller: str | None, connected: str | None, seconds: int | None, *, name: str = "SIP/{}-{:08x}"
) -> Channel:
    """A channel and its details."""
    return Channel(name=name.format(caller, slot), caller_id_num=caller, connected_line_num=connected, seconds=seconds)


def pair(slot: int, seconds: int, src: str = "101", dst: str = "202") -> tuple[Channel, Channel]:
    """Both channels of a call."""
    return leg(2 * slot, src, dst, seconds), leg(2 * slot + 1, dst, src, seconds)


def given_again(names: tuple[Channel, Channel], src: str, dst: str, seconds: int) -> tuple[Channel, Channel]:
    """The channels of another call, with the names of these."""
    return (
        leg(0, src, dst, seconds, name=names[0].name),
        leg(0, dst, src, seconds, name=names[1].name),
    )


class WithChannels(Watched):
    """An account whose channels are asked for too; by default it is known already that they tell what the lists do."""

    def __init__(self, *, agreed: bool = True, **rules: int) -> None:
        super().__init__(**rules)
        self.legs = Legs()
        self.asked: list[str] = []
        mark = msgspec.structs.replace(self.state.mark, agreed=agreed)
        self.state = msgspec.structs.replace(self.state, mark=mark)
        self.kept["mark"] = encode(mark) or b""

    def channels(
        self, at: float, *shown: Channel, unknown: tuple[str, ...] = (), details_at: float | None = None
    ) -> list[CallEvent]:
        """The list was asked for at second `at`, the details of what is new right after its answer came, or at
        `details_at`. The details of the names in `unknown` could not be had."""
        window = Window(ms(at), ms(at) + TRAVEL)
        self.asked = self.legs.listed([one.name for one in shown], window)
        asked = window.received if details_at is None else ms(details_at)
        for one in shown:
            if one.name in self.asked and one.name not in unknown:
                self.legs.told(one, Window(asked, asked + TRAVEL))
        if not self.asked:
            return []
        read = read_channels(self.rules, self.state, self.legs.snapshot())
        self.legs.settle(read.settled)
        return self._take(read.diff)

    def restart(self) -> None:
        super().restart()
        self.legs = Legs()


def test_a_start_is_told_before_the_active_list_shows_it() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(11, *pair(1, 500, "9", "8"))
    (started,) = account.channels(13, *pair(1, 502, "9", "8"), *pair(2, 1))
    assert (started.type, started.data.evidence) == ("call.started", Evidence.CHANNELS)
    assert (started.data.src, started.data.dst) == NUMBERS
    assert holds(started, 11.9)
    # Not in the list that was asked for at 11, which was not empty; a second old at 13.1, cut off or rounded.
    assert bounds(started) == (11.1, 13.2)
    assert account.active(15, live(3)) == []
    assert account.state.live() == 1


def test_a_call_that_only_channels_showed_ends_by_its_completed_row() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12, *pair(1, 1))
    account.active(15)
    answered, ended = account.completed(16, done(11, 13.5))
    assert types([answered, ended]) == ["answered", "ended"]
    assert ended.data.evidence is Evidence.COMPLETE
    assert holds(ended, 13.5)
    assert account.active(20) == account.completed(21, done(11, 13.5)) == []


def test_a_call_that_no_list_confirms_ends_by_absence_once_it_is_not_in_the_active_list() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12, *pair(1, 1))
    # No active list was read since: nothing is known of it.
    assert account.completed(13 + GRACE) == []
    account.channels(14)
    assert account.completed(200) == []
    account.active(205)
    (ended,) = account.completed(206 + GRACE)
    assert (ended.type, ended.data.evidence) == ("call.ended", Evidence.ABSENCE)
    assert types(account.events) == ["started", "ended"]
    assert bounds(ended)[0] <= 11


def test_absence_is_found_where_the_empty_active_list_stays_the_same() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12, *pair(1, 1))
    account.same_active(15)
    assert types(account.completed(16 + GRACE)) == ["ended"]


def test_channels_end_and_answer_nothing() -> None:
    account = WithChannels()
    account.active(10, live(4))
    account.channels(11, *pair(1, 5))
    for at in range(12, 200, 2):
        assert account.channels(at) == []
    assert account.state.live() == 1
    assert not account.state.gone


def test_two_twins_are_two_calls() -> None:
    account = WithChannels()
    account.active(10)
    started = account.channels(12, *pair(1, 1), *pair(2, 1))
    assert types(started) == ["started", "started"]
    assert len({event.subject for event in started}) == 2
    assert account.channels(14, *pair(1, 3), *pair(2, 3)) == []
    assert account.active(15, live(4), live(4)) == []
    account.active(20)
    account.completed(21, done(11, 17), done(11, 18))
    assert types(account.events).count("ended") == 2


def test_a_twin_of_a_known_call_is_left_to_the_active_list() -> None:
    account = WithChannels()
    account.active(10, live(0))
    # Which of them is the known one nothing tells.
    assert account.channels(11, *pair(1, 1), *pair(2, 1)) == []
    assert types(account.active(15, live(5), live(4))) == ["started"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_call_is_told_once_however_often_it_is_seen(restart: bool) -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12, *pair(1, 1))
    for at in (14, 16, 18):
        if restart:
            account.restart()
        assert account.channels(at, *pair(1, at - 11)) == []
    if restart:
        account.restart()
    assert account.active(19, live(8)) == []
    account.active(24)
    account.completed(25, done(11, 22))
    # The list of channels is behind.
    if restart:
        account.restart()
    assert account.channels(26, *pair(1, 15)) == []
    assert types(account.events) == ["started", "answered", "ended"]


def test_what_the_active_list_shows_first_is_not_told_again() -> None:
    account = WithChannels()
    account.active(12, live(1))
    assert account.channels(12.5, *pair(1, 1)) == []
    assert types(account.events) == ["started"]


def test_a_list_that_was_asked_for_before_the_active_one_starts_nothing() -> None:
    """The call was over when the later active list was made: its completed row tells of it."""
    account = WithChannels()
    account.active(10)
    account.active(12.4)
    assert account.channels(12, *pair(1, 0), details_at=12.2) == []
    assert types(account.completed(13, done(11.9, 12.3))) == ["started", "answered", "ended"]


def test_an_active_list_made_before_the_call_began_makes_it_not_gone() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12, *pair(1, 0))
    account.active(12.15)
    assert not account.state.gone
    account.active(17)
    assert len(account.state.gone) == 1
    account.completed(18, done(12.05, 15.9, "BUSY"))
    assert types(account.events) == ["started", "ended"]


def test_an_originated_call_is_not_told_while_only_the_user_s_phone_rings() -> None:
    account = WithChannels()
    account.active(10)
    assert account.channels(12, leg(2, "101", "", 1)) == []
    assert account.channels(14, leg(2, "101", None, 3)) == []
    (started,) = account.channels(16, leg(2, "101", "202", 5), leg(3, "202", "101", 0))
    assert holds(started, 10.7)
    assert started.data.answered is None
    assert started.data.dialled_by is not None
    assert ms(15) <= millis(started.data.dialled_by) <= ms(16.3)


def test_the_called_side_s_channel_proves_that_the_user_answered_and_no_more() -> None:
    account = WithChannels()
    account.active(11, live(0))
    account.channels(12, leg(2, "101", "", 1))
    assert account.state.calls[account.events[0].subject].dialled == 0
    assert account.channels(14, leg(2, "101", "202", 3), leg(3, "202", "101", 0)) == []
    (call,) = account.state.calls.values()
    assert not call.answered
    assert ms(14) <= call.dialled <= ms(14.3)
    account.restart()
    account.channels(14.5, leg(2, "101", "202", 3), leg(3, "202", "101", 0))
    account.active(16)
    (ended,) = account.completed(17, done(11, 15, "BUSY"))
    assert ended.data.answered is False
    assert ended.data.dialled_by is not None
    assert millis(ended.data.dialled_by) == call.dialled


def test_of_twins_nobody_says_which_is_dialled() -> None:
    account = WithChannels()
    account.active(12, live(1), live(1))
    account.channels(13, *pair(1, 2), leg(4, "101", "", 2))
    assert [call.dialled for call in account.state.calls.values()] == [0, 0]


@pytest.mark.parametrize(
    "shown",
    [
        (leg(2, "101", "202", 1),),
        (leg(2, "101", "202", 1), leg(3, "202", "303", 1)),
        (leg(2, "101", "202", None), leg(3, "202", "101", None)),
        (leg(2, "<unknown>", "202", 1), leg(3, "202", "<unknown>", 1)),
        (leg(0, "101", "202", 1, name="SIP/{}"), leg(0, "202", "101", 1, name="SIP/{}")),
    ],
    ids=["one side", "not mirrored", "no age", "no number", "none is surely the older"],
)
def test_what_is_not_certain_is_left_to_the_lists(shown: tuple[Channel, ...]) -> None:
    account = WithChannels()
    account.active(10)
    assert account.channels(12, *shown) == []
    # It is asked for again: the next list may tell more.
    account.channels(14, *shown)
    assert account.asked


def test_the_caller_s_channel_is_the_one_that_was_listed_first() -> None:
    account = WithChannels()
    account.active(10)
    called, caller = leg(0, "202", "101", 0, name="B/{}"), leg(0, "101", "202", 2, name="A/{}")
    account.channels(12, caller)
    (started,) = account.channels(14, called, msgspec.structs.replace(caller, seconds=4))
    assert (started.data.src, started.data.dst) == NUMBERS


def test_the_caller_s_channel_is_the_one_of_the_lower_counter() -> None:
    account = WithChannels()
    account.active(10)
    first, second = pair(4, 1)
    (started,) = account.channels(12, second, first)
    assert (started.data.src, started.data.dst) == NUMBERS


def test_a_name_that_is_given_again_is_another_call() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(11, *pair(1, 0))
    account.channels(13)
    account.active(15)
    account.completed(16, done(10.5, 12, "BUSY"))
    (started,) = account.channels(17, *pair(1, 0, "300", "400"))
    assert (started.data.src, started.data.dst) == ("300", "400")
    assert account.active(20, live(3, src="300", dst="400")) == []


def test_a_name_that_was_given_again_between_two_lists_invents_nothing() -> None:
    account = WithChannels()
    account.active(10)
    first = pair(1, 1)
    account.channels(12, *first)
    for at in range(14, 700, 2):
        # The list looks the same, and so nothing is asked for.
        assert account.channels(at, *given_again(first, "300", "400", at - 13)) == []
        if at % 10 == 0:
            account.active(at + 1, live(at - 12, src="300", dst="400"))
            account.completed(at + 1.5, done(11, 12.7, "BUSY"))
    assert types(account.events) == ["started", "started", "ended"]
    # The first call is forgotten by now, and what its channels said may not bring it back.
    assert len(account.state.calls) == 1
    assert account.channels(700, *given_again(first, "300", "400", 687), *pair(2, 900, "9", "8")) == []


def test_a_name_that_is_younger_than_it_was_listed_is_looked_at_anew() -> None:
    account = WithChannels()
    account.active(10)
    # Alone, so it is asked for with each list; at 22 it is another call's.
    account.channels(12, leg(2, "101", "", 1), leg(3, "202", "", 1))
    others = pair(1, 1)
    assert account.channels(22, *given_again(others, "300", "400", 0)) == []
    (started,) = account.channels(24, *given_again(others, "300", "400", 2))
    assert (started.data.src, started.data.dst) == ("300", "400")
    assert holds(started, 21.9)


def test_a_detail_that_could_not_be_had_is_asked_for_again() -> None:
    account = WithChannels()
    account.active(10)
    assert account.channels(12, *pair(1, 1), unknown=("SIP/202-00000003",)) == []
    assert types(account.channels(14, *pair(1, 3))) == ["started"]


def test_channels_are_not_believed_until_they_agree_with_the_lists() -> None:
    account = WithChannels(agreed=False)
    account.active(10)
    assert account.channels(12, *pair(1, 1)) == []
    assert types(account.active(15, live(4))) == ["started"]
    account.channels(16, *pair(1, 5), *pair(2, 1, "300", "400"))
    assert types(account.channels(18, *pair(1, 7), *pair(2, 3, "300", "400"))) == ["started"]


def test_channels_whose_numbers_read_otherwise_are_never_believed() -> None:
    account = WithChannels(agreed=False)
    for at in range(10, 100, 5):
        account.active(at, live(at - 9, dst="84950001122"))
        account.channels(at + 1, *pair(1, at - 8, dst="74950001122"))
    assert types(account.events) == ["started"]


def test_channels_that_told_of_a_call_that_never_was_are_not_believed_for_a_day() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12, *pair(1, 1))
    account.active(15)
    account.completed(16 + GRACE)
    account.restart()
    account.active(100)
    assert account.channels(102, *pair(2, 1, "300", "400")) == []
    day = 86_400 + 16 + GRACE
    account.active(day)
    assert types(account.channels(day + 2, *pair(3, 1, "300", "400"))) == ["started"]


def test_an_empty_list_does_not_say_that_a_channel_did_not_exist() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(11, *pair(9, 500, "9", "8"))
    account.channels(13)
    (started,) = account.channels(15, *pair(9, 504, "9", "8"), *pair(1, 3))[-1:]
    assert bounds(started) == (11.1, 13.2)
    assert account.legs.snapshot().legs[0].missing is None


def test_twins_of_whose_channels_some_are_missing_are_not_taken_for_one_the_other_way_round() -> None:
    account = WithChannels()
    account.active(10)
    first, second = pair(1, 1), pair(2, 1)
    assert account.channels(12, *first, *second, unknown=(first[0].name, second[1].name)) == []
    # Of the first only the called side is left.
    assert account.channels(14, first[1], *second) == []
    assert types(account.active(15, live(4), live(4))) == ["started", "started"]


def test_a_call_that_channels_showed_is_one_of_the_lists_once_it_was_listed() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12, *pair(1, 1))
    account.active(15, live(4))
    account.active(20)
    account.completed(21 + GRACE)
    # It was listed, so that no row came is no fault of the channels.
    account.active(100)
    assert types(account.channels(102, *pair(2, 1, "300", "400"))) == ["started"]


def test_an_end_between_the_list_of_channels_and_the_active_one_fits_its_row() -> None:
    account = WithChannels()
    account.active(10)
    account.channels(12.9, *pair(1, 0), details_at=13.2)
    # It may have been made before the call began, so that the call is not in it says nothing.
    account.active(13.25)
    row = done(12.5, 12.95, "BUSY")
    assert account.completed(14, row) == []
    account.active(18)
    assert types(account.completed(19, row)) == ["ended"]


def test_a_name_that_was_given_to_the_caller_s_channel_is_still_the_caller_s() -> None:
    account = WithChannels()
    account.active(10)
    caller, called = given_again(pair(1, 1), "300", "400", 0)
    account.channels(12, leg(0, "101", "", 1, name=caller.name))
    account.active(20)
    # Seen to be another call's by its age; the called side's is new by its name.
    assert account.channels(22, caller, called) == []
    (started,) = account.channels(24, *given_again(pair(1, 1), "300", "400", 2))
    assert (started.data.src, started.data.dst) == ("300", "400")


def test_details_of_before_the_list_start_nothing() -> None:
    account = WithChannels(agreed=False)
    account.active(10)
    first = pair(1, 1)
    account.channels(12, *first)
    mark = msgspec.structs.replace(account.state.mark, agreed=True)
    account.state = msgspec.structs.replace(account.state, mark=mark)
    names = tuple(one.name for one in first)
    assert account.channels(14, *first, unknown=names) == []
    assert types(account.channels(16, *pair(1, 5))) == ["started"]
