"""What RingCloud's lists prove of a command whose answer never came. Pure: no clock, no request.

A claim needs a row that nothing else explains. That a thing did not happen needs lists, read late enough, in which
nothing at all resembles it. Whatever lies between stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from gateway.commands.rights import digits_of
from gateway.contract.commands import (
    Command,
    UpdateEmail,
    UpdateExtensionNumber,
    UpdatePassword,
    VoiceMailBoxOff,
    VoiceMailBoxOn,
)
from gateway.contract.times import Ms
from gateway.ringcloud import ActiveRow, CompletedRow, User

# What the evidence comes to: done, not done, or not to be told by it.
Verdict = Literal["done", "undone", "open"]

# Starts are whole seconds, and so is the server's clock as we know it.
_SLACK: Ms = 3_000
# How far the server's clock may be off where it does not tell.
_UNTOLD: Ms = 600_000
# A call's two rows, the active one and the completed one, begin this near to each other.
_SAME: Ms = 3_000


class Look(msgspec.Struct, frozen=True):
    """Both lists of an account, the active one asked for first. `ahead`: of the server's clock, None if it didn't tell."""

    active: Sequence[ActiveRow]
    active_at: Ms
    completed: Sequence[CompletedRow]
    ahead: Ms | None


class Dialled(msgspec.Struct, frozen=True):
    """A call that may have been asked for: by whom (name and extension, as far as known), whom, and between when."""

    sources: frozenset[str]
    num: str
    since: Ms
    until: Ms


def judge_call(asked: Dialled, look: Look, rivals: int, *, late: bool) -> Verdict:
    """Whether the call was dialled. `rivals`: other commands that may have made such a call then.

    `late`: the lists were asked for so late that a call which was dialled is in one of them.
    """
    active = [
        (row.src, at)
        for row in look.active
        if _same_number(row.dst, asked.num) and _within(at := look.active_at - row.seconds * 1000, asked, 0)
    ]
    completed = [
        (row.src, start)
        for row in look.completed
        if _same_number(row.dst, asked.num) and (start := _start(row, asked, look.ahead)) is not None
    ]
    mine = [at for src, at in completed if src in asked.sources]
    ended = list(mine)
    for src, at in active:
        if src not in asked.sources:
            continue
        # One that ended between the two lists is in both.
        twin = next((other for other in ended if abs(other - at) <= _SAME), None)
        if twin is None:
            mine.append(at)
        else:
            ended.remove(twin)
    if len(mine) > rivals and look.ahead is not None:
        return "done"
    return "undone" if late and not active and not completed else "open"


def judge_new_user(users: Iterable[User], num: str, mail: str, password: str, *, late: bool) -> tuple[Verdict, str]:
    """Whether the user was made, and its name. An extension number is one user's alone."""
    for user in users:
        if user.num == num:
            # Otherwise another's, and ours was refused; or made and changed since, which nothing tells apart.
            ours = user.mail == mail and user.password in (None, password)
            return ("done", user.user) if ours else ("open", "")
    return ("undone" if late else "open"), ""


def judge_change(command: Command, user: User, password: str) -> Verdict:
    """Whether a user is now as a command would have it."""
    pair: tuple[object, object]
    match command:
        case UpdatePassword():
            pair = (user.password, password)
        case UpdateExtensionNumber(num=num):
            pair = (user.num, num)
        case UpdateEmail(mail=mail):
            pair = (user.mail, mail)
        case VoiceMailBoxOn():
            pair = (user.voice_mail_box, True)
        case VoiceMailBoxOff():
            pair = (user.voice_mail_box, False)
        case _:
            return "open"
    found, wanted = pair
    if found is None:
        return "open"
    return "done" if found == wanted else "undone"


def _start(row: CompletedRow, asked: Dialled, ahead: Ms | None) -> Ms | None:
    """When a completed call began by our clock, if that may have been the request's doing."""
    for start in (row.start.earliest, row.start.latest):
        at = start - (ahead or 0)
        if _within(at, asked, _UNTOLD if ahead is None else 0):
            return at
    return None


def _within(at: Ms, asked: Dialled, more: Ms) -> bool:
    return asked.since - _SLACK - more <= at <= asked.until + _SLACK + more


def _same_number(one: str, other: str) -> bool:
    return one == other or digits_of(one) == digits_of(other)
