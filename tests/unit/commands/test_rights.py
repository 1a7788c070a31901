"""What an account's commands may do: types, numbers however they are written, calls a day."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.intake import Rejected
from gateway.commands.rights import check_rights, day_of, may_dial
from gateway.config import DIAL, AccountConfig, KeyConfig
from gateway.contract.commands import COMMAND_TYPES, Command, Originate, VoiceMailBoxOn
from gateway.contract.times import millis

KEYS = (KeyConfig(key="env:KEY", password="env:PASSWORD"),)
CALL = Originate(id="a", account=1, user="400", num="74950001122")


def account(**settings: object) -> AccountConfig:
    return AccountConfig(id=1, keys=KEYS, **settings)  # type: ignore[arg-type]


def field_of(command: Command, config: AccountConfig, originated: int = 0) -> str | None:
    try:
        check_rights(command, config, originated)
    except Rejected as rejected:
        return rejected.field
    return None


def test_calls_alone_are_allowed_unless_more_is() -> None:
    switch = VoiceMailBoxOn(id="a", account=1, user="400")
    assert field_of(CALL, account()) is None
    assert field_of(switch, account()) == "type"
    assert field_of(switch, account(allow=COMMAND_TYPES)) is None
    assert field_of(CALL, account(allow=("user.voice_mail_box_on",))) == "type"


def test_a_day_has_so_many_calls() -> None:
    assert field_of(CALL, account(daily_originates=3), originated=2) is None
    assert field_of(CALL, account(daily_originates=3), originated=3) == "account"
    assert field_of(CALL, account(daily_originates=0)) == "account"


@pytest.mark.parametrize(
    "num",
    [
        *("+78091234567", "78091234567", "88091234567", "8091234567", "+88312345678", "00883123456789"),
        *("+19001234567", "8101900123456", "449012345678", "+4990012345", "+9791234"),
    ],
)
def test_a_premium_number_is_not_dialled_however_it_is_written(num: str) -> None:
    assert not may_dial(num, DIAL)


@pytest.mark.parametrize("num", ["100", "74950001122", "84950001122", "+442071234567", "4950001122", "88001234567"])
def test_other_numbers_are_dialled(num: str) -> None:
    assert may_dial(num, DIAL)


@pytest.mark.parametrize(
    ("num", "may"),
    [
        ("74950001122", True),
        ("+74950001122", True),
        ("84950001122", True),
        ("4950001122", True),
        ("74950001133", False),
        ("74990001122", False),
        ("102", True),
        ("103", False),
        ("1021", False),
    ],
)
def test_what_is_not_allowed_is_not_dialled(num: str, may: bool) -> None:
    assert may_dial(num, ("7495*", "102", "!74950001133")) is may


@pytest.mark.parametrize("num", ["*21*88091234567#", "#31#", "*98"])
def test_a_code_is_dialled_only_where_it_is_named(num: str) -> None:
    assert not may_dial(num, DIAL)
    assert may_dial(num, (*DIAL, num))
    assert not may_dial(num, (*DIAL, num, f"!{num}"))


@given(st.from_regex(r"\+?[0-9]{1,32}", fullmatch=True))
def test_what_is_refused_is_refused_whatever_else_allows_it(num: str) -> None:
    assert not may_dial(num, ("*", num, f"!{num.removeprefix('+')}"))
    assert not may_dial(num, ())


@pytest.mark.parametrize(
    ("zone", "day"),
    [("Europe/Moscow", date(2026, 11, 25)), ("UTC", date(2026, 11, 24)), ("Asia/Omsk", date(2026, 11, 25))],
)
def test_a_day_is_the_account_s(zone: str, day: date) -> None:
    assert day_of(millis(datetime(2026, 11, 24, 21, 30, tzinfo=UTC)), zone) == day
