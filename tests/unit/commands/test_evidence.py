"""What lists prove: a claim needs a row of its own, a denial lists in which nothing resembles it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.evidence import Dialled, Look, Verdict, judge_call, judge_change, judge_new_user
from gateway.contract.commands import Command, UpdateEmail, UpdateExtensionNumber, UpdatePassword, VoiceMailBoxOff
from gateway.ringcloud import ActiveRow, CompletedRow, User, WallTime

SENT = 1_000_000_000
ASKED = Dialled(frozenset(["anna", "400"]), "+74950001122", SENT, SENT + 20_000)
LOOKED = SENT + 30_000


def active(src: str = "400", dst: str = "74950001122", seconds: int = 28) -> ActiveRow:
    return ActiveRow(src, dst, seconds, "current")


def completed(src: str = "400", dst: str = "74950001122", start: int = SENT + 2_000) -> CompletedRow:
    return CompletedRow(src, dst, "outgoing", WallTime(start, start), WallTime(start, start), 5, "ANSWERED", None)


def verdict(
    live: Sequence[ActiveRow] = (),
    ended: Sequence[CompletedRow] = (),
    *,
    rivals: int = 0,
    late: bool = True,
    ahead: int | None = 0,
) -> Verdict:
    return judge_call(ASKED, Look(live, LOOKED, ended, ahead), rivals, late=late)


@pytest.mark.parametrize("dst", ["74950001122", "84950001122", "+74950001122", "4950001122"])
@pytest.mark.parametrize("src", ["400", "anna"])
def test_a_row_in_either_list_proves_it(src: str, dst: str) -> None:
    assert verdict([active(src, dst)]) == verdict([], [completed(src, dst)]) == "done"


def test_nothing_in_late_lists_proves_the_contrary_and_in_early_ones_nothing() -> None:
    other = [active("401", "100"), active("400", "74950001133")]
    assert verdict(other, [completed("400", "100")]) == "undone"
    assert verdict(other, late=False) == "open"


def test_another_s_call_of_the_number_is_neither() -> None:
    assert verdict([active("401")]) == verdict([], [completed("401")]) == "open"


@pytest.mark.parametrize("start", [SENT - 3_500, SENT + 24_000])
def test_a_call_of_another_time_is_not_this_one(start: int) -> None:
    assert verdict([], [completed(start=start)]) == "undone"


def test_a_row_that_another_command_explains_is_no_proof() -> None:
    assert verdict([active()], rivals=1) == "open"
    assert verdict([active()], [completed(start=SENT + 12_000)], rivals=1) == "done"


def test_a_call_that_ended_between_the_lists_is_counted_once() -> None:
    assert verdict([active(seconds=28)], [completed(start=SENT + 2_000)], rivals=1) == "open"


@pytest.mark.parametrize("ahead", [-400_000, -1_500, 0, 90_000])
def test_the_server_s_clock_may_be_off(ahead: int) -> None:
    assert verdict([], [completed(start=SENT + 2_000 + ahead)], ahead=ahead) == "done"
    assert verdict([], [completed(start=SENT + 2_000 + ahead + 60_000)], ahead=ahead) == "undone"


def test_a_server_that_tells_no_time_proves_nothing_by_near_rows() -> None:
    assert verdict([], [completed(start=SENT + 90_000)], ahead=None) == "open"
    assert verdict([], [completed()], ahead=None) == "open"
    assert verdict([], [completed(start=SENT + 3_600_000)], ahead=None) == "undone"


rows = st.lists(
    st.tuples(st.sampled_from(["400", "401"]), st.sampled_from(["74950001122", "100"]), st.integers(-60_000, 60_000)),
    max_size=5,
)


@given(rows, st.integers(0, 3), st.booleans())
def test_a_claim_needs_more_rows_than_there_are_rivals(
    found: list[tuple[str, str, int]], rivals: int, late: bool
) -> None:
    ended = [completed(src, dst, SENT + at) for src, dst, at in found]
    told = verdict([], ended, rivals=rivals, late=late)
    mine = sum(src == "400" and dst != "100" and -3_000 <= at <= 23_000 for src, dst, at in found)
    alike = sum(dst != "100" and -3_000 <= at <= 23_000 for _, dst, at in found)
    assert told == ("done" if mine > rivals else "undone" if late and not alike else "open")


@pytest.mark.parametrize(
    ("user", "late", "expected"),
    [
        (User(user="450", num="450", mail="a@b.c", password="hush"), False, ("done", "450")),
        (User(user="450", num="450", mail="a@b.c"), False, ("done", "450")),
        (User(user="450", num="450", mail="a@b.c", password="other"), True, ("open", "")),
        (User(user="450", num="450", mail="x@b.c", password="hush"), True, ("open", "")),
        (User(user="451", num="451", mail="a@b.c", password="hush"), True, ("undone", "")),
        (User(user="451", num="451", mail="a@b.c", password="hush"), False, ("open", "")),
    ],
)
def test_a_new_user_is_known_by_number_address_and_password(
    user: User, late: bool, expected: tuple[Verdict, str]
) -> None:
    assert judge_new_user([User(user="400", num="400"), user], "450", "a@b.c", "hush", late=late) == expected


@pytest.mark.parametrize(
    ("command", "user", "expected"),
    [
        (UpdateEmail(id="a", account=1, user="400", mail="a@b.c"), {"mail": "a@b.c"}, "done"),
        (UpdateEmail(id="a", account=1, user="400", mail="a@b.c"), {"mail": "x@b.c"}, "undone"),
        (UpdateEmail(id="a", account=1, user="400", mail="a@b.c"), {}, "open"),
        (UpdateExtensionNumber(id="a", account=1, user="400", num="450"), {"num": "450"}, "done"),
        (UpdatePassword(id="a", account=1, user="400", password="sealed:x"), {"password": "hush"}, "done"),
        (UpdatePassword(id="a", account=1, user="400", password="sealed:x"), {}, "open"),
        (VoiceMailBoxOff(id="a", account=1, user="400"), {"voice_mail_box": False}, "done"),
        (VoiceMailBoxOff(id="a", account=1, user="400"), {"voice_mail_box": True}, "undone"),
        (VoiceMailBoxOff(id="a", account=1, user="400"), {}, "open"),
    ],
)
def test_a_change_is_known_by_what_the_user_is(command: Command, user: dict[str, object], expected: Verdict) -> None:
    assert judge_change(command, User(user="400", **user), "hush") == expected  # type: ignore[arg-type]
