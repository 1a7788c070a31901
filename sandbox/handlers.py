"""What each URL of the RingCloud API answers, over the simulated PBX."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.numbers import look_up
from sandbox.pbx import Pbx, UnknownUserError
from sandbox.recordings import wav
from sandbox.replies import ApiError, to_json

_EXTENSION = re.compile(r"4\d\d", re.ASCII)
_MAIL = re.compile(r"[^@\s]+@[^@\s]+")
_NUMBER = re.compile(r"\+?\d{1,20}", re.ASCII)


@dataclass(slots=True)
class Ask:
    """A request that passed authentication and limits.

    `args` are the decoded variable parts of the path; `params` come from the body of a POST, and are empty for a GET.
    """

    account: int
    args: tuple[str, ...]
    query: Mapping[str, str]
    params: dict[str, Any]


# A handler returns the envelope's `data` as JSON (a route without envelope: the file), or raises ApiError.
Handler = Callable[[Pbx, Ask], bytes]
# What a change answers is not documented.
_DONE = b"null"


def active(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/active."""
    return pbx.active_json(ask.account)


def complete(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/complite and /v1/calls/complete: query `days` 1..7 and `num`."""
    days = ask.query.get("days", "7")
    if days not in ("1", "2", "3", "4", "5", "6", "7"):
        raise ApiError(400, "days is a number from 1 to 7")
    num = ask.query.get("num")
    if num is not None and _NUMBER.fullmatch(num) is None:
        raise ApiError(400, "num is a telephone number")
    return pbx.completed_json(ask.account, int(days), num)


def originate(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/calls: params `user` and `num`."""
    user = _text(ask.params, "user")
    num = _text(ask.params, "num")
    if _NUMBER.fullmatch(num) is None:
        raise ApiError(400, "num is a telephone number")
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
        pbx.user(ask.account, ask.args[0]).password = _text(ask.params, "password")
    return _DONE


def update_extension_number(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/update_extension_number: params `num`."""
    num = _extension(ask.params)
    with _known_user():
        try:
            pbx.renumber(ask.account, ask.args[0], num)
        except ValueError as error:
            raise ApiError(400, str(error)) from None
    return _DONE


def update_email(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/update_email: params `mail`."""
    mail = _mail(ask.params)
    with _known_user():
        pbx.user(ask.account, ask.args[0]).mail = mail
    return _DONE


def voice_mail_box_on(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/voice_mail_box_on."""
    with _known_user():
        pbx.user(ask.account, ask.args[0]).voice_mail_box = "on"
    return _DONE


def voice_mail_box_off(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/<username>/voice_mail_box_off."""
    with _known_user():
        pbx.user(ask.account, ask.args[0]).voice_mail_box = "off"
    return _DONE


def create_user(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/users/create: params `password`, `num` and `mail`; the data is the new user's name."""
    password, num, mail = _text(ask.params, "password"), _extension(ask.params), _mail(ask.params)
    try:
        return to_json(pbx.add_user(ask.account, num, password, mail))
    except ValueError as error:
        raise ApiError(400, str(error)) from None


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
            return to_json(
                {
                    "Channel": leg.name,
                    "CallerIDNum": leg.caller,
                    "CallerIDName": leg.caller,
                    "ConnectedLineNum": leg.connected,
                    "ConnectedLineName": leg.connected,
                    "Seconds": (pbx.now() - leg.since) // 1000,
                }
            )
    raise ApiError(404, "no such channel")


def _text(params: dict[str, Any], name: str) -> str:
    value = params.get(name)
    # JSON types are not documented, so a number is as good as its text.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise ApiError(400, f"{name} is required")
    return value


def _extension(params: dict[str, Any]) -> str:
    num = _text(params, "num")
    if _EXTENSION.fullmatch(num) is None:
        raise ApiError(400, "num has the form 4xx")
    return num


def _mail(params: dict[str, Any]) -> str:
    mail = _text(params, "mail")
    if _MAIL.fullmatch(mail) is None:
        raise ApiError(400, "mail is an address")
    return mail


@contextmanager
def _known_user() -> Iterator[None]:
    """A user that does not exist is a wrong parameter."""
    try:
        yield
    except UnknownUserError:
        raise ApiError(400, "no such user") from None
