"""What an account's commands may do: which types, which numbers, how many calls a day."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from gateway.commands.intake import Rejected, rejection
from gateway.config import AccountConfig
from gateway.contract.commands import Command, Originate, type_of
from gateway.contract.times import Ms, utc


def check_rights(command: Command, account: AccountConfig, originated: int) -> None:
    """Pass a command that its account may have executed. `originated`: calls that it has asked for today.

    Raises Rejected, naming the field.
    """
    if type_of(command) not in account.allow:
        raise rejection(command, "type", f"account {account.id} does not allow it")
    if not isinstance(command, Originate):
        return
    if not may_dial(command.num, account.dial):
        raise rejection(command, "num", f"account {account.id} does not let it be dialled")
    if originated >= account.daily_originates:
        raise over_cap(command, account)


def over_cap(command: Command, account: AccountConfig) -> Rejected:
    """That the account has asked for as many calls today as it may."""
    return rejection(command, "account", f"has asked for {account.daily_originates} calls today, which is all it may")


def may_dial(num: str, dial: Sequence[str]) -> bool:
    """Whether one pattern of `dial` allows the number, and none that begins with `!` refuses it, however it is written.

    What has a `*` or `#` in it is a code that may forward calls anywhere: only the same pattern, letter for letter,
    allows it.
    """
    if any(sign in num for sign in "*#"):
        return num in dial and f"!{num}" not in dial
    readings = set(_readings(num))
    refused = any(_fits(reading, one[1:]) for one in dial if one.startswith("!") for reading in readings)
    canonical = next(_readings(num))
    return not refused and any(_fits(canonical, one) or one == num for one in dial if not one.startswith("!"))


def day_of(at: Ms, zone: str) -> date:
    """The day of `at` (ms UTC) by the account's zone."""
    moment: datetime = utc(at).astimezone(_zone(zone))
    return moment.date()


def digits_of(num: str) -> str:
    """A number in international form without the +, as far as that can be told."""
    return next(_readings(num))


def _fits(digits: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("+")
    return digits.startswith(pattern[:-1]) if pattern.endswith("*") else digits == pattern


def _readings(num: str) -> Iterator[str]:
    """A number's digits as they may be understood, the likeliest first: 8 and 810 are how Russia dials out and abroad."""
    digits = re.sub(r"\D", "", num)
    if not num.startswith("+"):
        if digits.startswith("810") and len(digits) > 11:
            yield digits[3:]
        elif digits.startswith("00") and len(digits) > 9:
            yield digits[2:]
        elif digits.startswith("8") and len(digits) == 11:
            yield f"7{digits[1:]}"
        elif len(digits) == 10:
            yield f"7{digits}"
    yield digits


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
