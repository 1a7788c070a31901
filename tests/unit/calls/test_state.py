"""State in its parts: kept and loaded, written only where changed, bounded."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.clocks import Skew
from gateway.calls.memory import HOUR, fingerprint, says
from gateway.calls.snapshots import Window
from gateway.calls.state import (
    REMEMBERED_HOURS,
    AccountState,
    Call,
    Given,
    Mark,
    encode,
    live_part,
    load,
)
from tests.unit.calls.model import Completed, Wall
from tests.unit.calls.watched import ALONE, Watched, done, live, ms

moments = st.integers(0, 2**45)
sequences = st.integers(0, 10_000)
numbers = st.sampled_from(["101", "202", "", "+7 495", "Анна"])
windows = st.builds(Window, sent=moments, received=moments)
marks = st.builds(
    Mark,
    since=moments,
    skew=st.builds(Skew, low=st.integers(-(2**31), 0), high=st.integers(0, 2**31), at=moments),
    active=st.none() | windows,
    completed=st.none() | windows,
    before=st.none() | windows,
)
calls = st.builds(
    Call,
    id=st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26),
    src=numbers,
    dst=numbers,
    start=windows,
    sequence=sequences,
    time=moments,
    answered=st.booleans(),
    ringing=st.booleans(),
    ambiguous=st.booleans(),
    gone=st.none() | windows,
    ended=st.sampled_from([None, "complete", "absence"]),
    ended_seen=moments,
    shown=st.none() | windows,
    given=st.none() | st.builds(Given, start=windows, end=windows, seen=moments, listed=st.booleans()),
)
hours = st.dictionaries(st.integers(1, 8191), st.integers(1, 9).map(lambda many: bytes(45 * many)), max_size=2)


@given(marks, st.lists(calls, unique_by=lambda call: call.id, max_size=5), st.dictionaries(st.integers(0), hours))
def test_what_was_kept_is_loaded_again(mark: Mark, known: list[Call], done: dict[int, dict[int, bytes]]) -> None:
    parts = {"mark": encode(mark)}
    parts |= {live_part(call.id): encode(call) for call in known}
    parts |= {f"done/{hour}/{node}": raw for hour, slices in done.items() for node, raw in slices.items()}
    state = load([(name, raw) for name, raw in parts.items() if raw is not None])
    assert state is not None
    assert state.mark == mark
    assert state.calls == {call.id: call for call in known}
    assert state.done == {hour: slices for hour, slices in done.items() if slices}
    assert {one for ids in state.by_numbers.values() for one in ids} == {call.id for call in known}
    for call in known:
        assert call.id in state.by_numbers[call.src, call.dst]
        assert (call.id in state.gone) == (call.gone is not None and call.ended is None)
    assert state.live() == sum(call.ended is None for call in known)


def test_a_call_that_was_kept_with_fewer_fields_is_loaded_as_it_was() -> None:
    call = Call("0" * 26, "101", "202", Window(1, 2), 1, 1, mixed=7)
    fields = msgspec.msgpack.decode(encode(call) or b"")
    kept = [
        ("mark", encode(Mark(since=0, skew=Skew(0, 0, 0)))),
        (live_part(call.id), msgspec.msgpack.encode(fields[:-2])),
    ]
    state = load([(name, raw) for name, raw in kept if raw is not None])
    assert state is not None
    assert state.calls == {call.id: call}


def test_a_removed_part_is_a_tombstone() -> None:
    assert encode(None) is None


def test_without_a_watermark_there_is_no_state() -> None:
    assert load([]) is None


def test_parts_of_other_owners_are_ignored() -> None:
    account = Watched()
    account.active(10, live(4))
    assert load([*account.kept.items(), ("command/abc", b"\xff"), ("later", b"")]) == load(account.kept.items())


def test_bytes_that_are_no_part_are_told() -> None:
    with pytest.raises(msgspec.MsgspecError):
        load([("mark", b"\xff")])


@pytest.mark.parametrize("raw", [b"", b"\x00" * 44, b"\x00" * 46])
def test_bytes_that_are_no_slice_are_told(raw: bytes) -> None:
    mark = encode(Mark(since=1, skew=Skew(-1, 1, 1)))
    assert mark is not None
    with pytest.raises(msgspec.MsgspecError):
        load([("mark", mark), ("done/1/1", raw)])


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert fingerprint(done(6, 18)) == 15_133_878_520_898_145_392
    assert says(done(6, 18, rec_file="/r/1.wav"))[3] == 2_162_909_299
    assert says(done(6, 18))[3] == 0


def test_a_fingerprint_outlives_what_may_be_corrected() -> None:
    assert fingerprint(done(6, 18)) == fingerprint(done(6, 25, "BUSY", rec_file="/r/1.wav"))


@pytest.mark.parametrize(
    "other",
    [
        done(7, 18),
        done(6, 18, src="102"),
        done(6, 18, dst="203"),
        done(6, 18, src="202", dst="101"),
        dataclasses.replace(done(6, 18), direction="outgoing"),
    ],
)
def test_a_fingerprint_tells_calls_apart(other: Completed) -> None:
    assert fingerprint(done(6, 18)) != fingerprint(other)


def test_only_what_changed_is_written() -> None:
    account = Watched()
    account.active(10, live(4, "ringing"), live(4, "ringing", src="300"))
    first, second = account.state.calls
    assert set(account.diff.parts) == {"mark", f"live/{first}", f"live/{second}"}

    account.active(15, live(9, "ringing"), live(9, "ringing", src="300"))
    assert account.diff.parts == {}
    account.active(20, live(14, "answered"), live(14, "ringing", src="300"))
    assert set(account.diff.parts) == {"mark", f"live/{first}"}
    account.completed(22)
    assert account.diff.parts == {}

    account.active(25, live(19, "ringing", src="300"))
    assert set(account.diff.parts) == {"mark", f"live/{first}"}
    account.completed(27, done(6, 23))
    assert set(account.diff.parts) == {"mark", f"live/{first}", f"done/{ms(6) // HOUR}/1"}


def test_the_first_reading_of_an_idle_account_is_written() -> None:
    account = Watched()
    account.active(10)
    assert set(account.diff.parts) == {"mark"}
    account.active(15)
    account.completed(16)
    assert account.diff.parts == {}


def test_a_completed_row_seen_again_writes_nothing() -> None:
    account = Watched()
    account.completed(10, done(2, 7))
    account.completed(15, done(2, 7))
    assert account.diff.parts == {}


def test_the_state_before_a_diff_is_left_as_it_was() -> None:
    account = Watched()
    account.active(10, live(4))
    account.completed(11, done(2, 7, src="300"))
    before = account.state
    copy = AccountState(
        before.mark,
        dict(before.calls),
        dict(before.done),
        dict(before.by_numbers),
        dict(before.alone),
        before.gone,
        list(before.listed),
    )
    account.active(15, live(2, src="400"))
    account.completed(16, done(2, 7, src="300", rec_file="/r"), done(6, 14), done(7, 9, src="500"))
    assert msgspec.structs.replace(before, listed=list(before.listed)) == copy


def test_an_ended_call_is_forgotten_after_two_minutes() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(20)
    account.completed(21, done(6, 18))
    (call,) = account.state.calls
    account.active(141)
    assert call in account.state.calls
    account.active(142)
    assert account.state.calls == {}
    assert account.state.by_numbers == {}
    assert account.diff.parts[f"live/{call}"] is None
    assert f"live/{call}" not in account.kept


def test_a_call_ended_by_absence_is_forgotten_after_a_week() -> None:
    account = Watched()
    account.active(10, live(4))
    account.active(20)
    account.completed(21 + ALONE)
    account.active(7.9 * 86_400)
    assert len(account.state.calls) == 1
    account.active(8.1 * 86_400)
    assert account.state.calls == {}


def test_hours_of_completed_rows_are_forgotten_once_no_list_has_them() -> None:
    account = Watched()
    account.completed(10, done(2, 7))
    hour = ms(2) // HOUR
    later = REMEMBERED_HOURS * 3_600.0
    account.completed(later - 3_600)
    assert hour in account.state.done
    account.completed(later + 3_600)
    assert account.state.done == {}
    assert account.diff.parts[f"done/{hour}/1"] is None
    assert f"done/{hour}/1" not in account.kept


def test_a_time_of_the_hour_that_comes_twice_has_one_fingerprint() -> None:
    first = Completed("1", "2", "incoming", Wall(0, 3_600_000), Wall(5, 5), 1, "BUSY")
    assert fingerprint(first) == fingerprint(Completed("1", "2", "incoming", Wall(0, 0), Wall(5, 5), 1, "BUSY"))
