"""What each URL of the RingCloud API answers, over the simulated PBX."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from sandbox.ledger import UserChange
from sandbox.numbers import look_up
from sandbox.params import DAYS, EXTENSION, MAIL, NUM, PASSWORD, USER
from sandbox.pbx import Pbx, UnknownUserError
from sandbox.recordings import wav
from sandbox.replies import ApiError, to_json


@dataclass(slots=True)
class Ask:
    """A request that passed authentication and limits.

    `args` are the decoded variable parts of the path; `params` come from the body of a POST, and are empty for a GET.
    """

    account: int
    args: tuple[str, ...]
    query: Mapping[str, str]
    params: dict[str, Any]


class Channel(msgspec.Struct):
    """A channel as `GET /v1/calls/channels/<channel>` shows it; `Seconds` is how long it has existed, whole."""

    name: str = msgspec.field(name="Channel")
    caller: str = msgspec.field(name="CallerIDNum")
    caller_name: str = msgspec.field(name="CallerIDName")
    connected: str = msgspec.field(name="ConnectedLineNum")
    connected_name: str = msgspec.field(name="ConnectedLineName")
    seconds: int = msgspec.field(name="Seconds")


# A handler returns the envelope's `data` as JSON (a route without envelope: the file), or raises ApiError.
Handler = Callable[[Pbx, Ask], bytes]
# What a change answers is not documented.
_DONE = b"null"


def active(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/active."""
    return pbx.active_json(ask.account)


def complete(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/complite and /v1/calls/complete: query `days` 1..7 and `num`."""
    days = DAYS.read(ask.query) if DAYS.name in ask.query else "7"
    num = NUM.read(ask.query) if NUM.name in ask.query else None
    return pbx.completed_json(ask.account, int(days), num)


def originate(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/calls: params `user` and `num`."""
    user, num = USER.read(ask.params), NUM.read(ask.params)
    with _known_user():
        pbx.originate(ask.account, user, num)
    return _DONE


def users(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/users."""
    return to_json(list(pbx.users(ask.account).values()))


def user(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/users/<username>."""
    with _known_user():
        return to_json(pbx.user(ask.account, ask.args[0]))


def update_password(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/update_password: params `password`."""
    with _known_user():
        pbx.user(ask.account, ask.args[0]).password = PASSWORD.read(ask.params)
    return _changed(pbx, ask, "password", "")


def update_extension_number(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/update_extension_number: params `num`."""
    num = EXTENSION.read(ask.params)
    with _known_user():
        try:
            pbx.renumber(ask.account, ask.args[0], num)
        except ValueError as error:
            raise ApiError(400, str(error)) from None
    return _changed(pbx, ask, "num", num)


def update_email(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/update_email: params `mail`."""
    mail = MAIL.read(ask.params)
    with _known_user():
        pbx.user(ask.account, ask.args[0]).mail = mail
    return _changed(pbx, ask, "mail", mail)


def voice_mail_box_on(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/voice_mail_box_on."""
    with _known_user():
        pbx.user(ask.account, ask.args[0]).voice_mail_box = "on"
    return _changed(pbx, ask, "voice_mail_box", "on")


def voice_mail_box_off(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/voice_mail_box_off."""
    with _known_user():
        pbx.user(ask.account, ask.args[0]).voice_mail_box = "off"
    return _changed(pbx, ask, "voice_mail_box", "off")


def create_user(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/create: params `password`, `num` and `mail`; the data is the new user's name."""
    password, num, mail = PASSWORD.read(ask.params), EXTENSION.read(ask.params), MAIL.read(ask.params)
    try:
        name = pbx.add_user(ask.account, num, password, mail)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    pbx.ledger.changes.append(UserChange(pbx.now(), ask.account, name, "created", num))
    return to_json(name)


def records(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/users/<username>/records."""
    with _known_user():
        return to_json(pbx.recordings(ask.account, ask.args[0]))


def record(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/users/<username>/records/<filename>: the bare file."""
    with _known_user():
        talk_ms = pbx.recording_ms(ask.account, *ask.args)
    if talk_ms is None:
        raise ApiError(404, "no such file")
    return wav(talk_ms)


def balance(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/accounts/<id>/balance: of the key's own account only."""
    if ask.args[0] != str(ask.account):
        raise ApiError(403, "another account's balance")
    return to_json(pbx.balance(ask.account))


def phone_number(pbx: Pbx, ask: Ask) -> bytes:  # noqa: ARG001 - handlers are alike
    """GET /v1/phone_numbers/<E.164>."""
    try:
        return to_json(look_up(ask.args[0]))
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def channels(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/channels."""
    return to_json([leg.name for leg in pbx.channels(ask.account)])


def channel(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/channels/<channel>."""
    for leg in pbx.channels(ask.account):
        if leg.name == ask.args[0]:
            seconds = (pbx.now() - leg.since) // 1000
            return to_json(Channel(leg.name, leg.caller, leg.caller, leg.connected, leg.connected, seconds))
    raise ApiError(404, "no such channel")


def _changed(pbx: Pbx, ask: Ask, what: Literal["password", "num", "mail", "voice_mail_box"], value: str) -> bytes:
    """Write a change of the user that the path names into the ledger."""
    pbx.ledger.changes.append(UserChange(pbx.now(), ask.account, ask.args[0], what, value))
    return _DONE


@contextmanager
def _known_user() -> Iterator[None]:
    """A user that does not exist is a wrong parameter."""
    try:
        yield
    except UnknownUserError:
        raise ApiError(400, "no such user") from None
