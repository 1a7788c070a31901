"""Users, channels, recordings and numbers, decoded from the API's answers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from gateway.ringcloud.envelope import decode_data, decode_envelope, make_rows, seconds, text
from gateway.ringcloud.errors import EnvelopeError
from gateway.ringcloud.times import Number, WallTime, reader_of

# No more than this is a sum of money; and no exponent makes a few bytes a number of a billion digits.
_SUM: Final = re.compile(r"-?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?", re.ASCII)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user of an account, as far as RingCloud tells. Its repr hides the password."""

    user: str
    account_id: str | None = None
    num: str | None = None
    mail: str | None = None
    voice_mail_box: bool | None = None
    password: str | None = None

    def __repr__(self) -> str:
        shown = ("user", "account_id", "num", "mail", "voice_mail_box")
        return f"User({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a call. `seconds` is whole."""

    name: str
    caller_id_num: str | None = None
    caller_id_name: str | None = None
    connected_line_num: str | None = None
    connected_line_name: str | None = None
    seconds: int | None = None


class Recording(msgspec.Struct, frozen=True):
    """A recording in a user's list: its file name, and when it was recorded."""

    file: str
    time: WallTime


class PhoneNumber(msgspec.Struct, frozen=True, kw_only=True):
    """What RingCloud knows of a telephone number; None where it does not say."""

    country: str | None = None
    region: str | None = None
    operator: str | None = None


def decode_users(body: bytes, *, url: str = "") -> list[User]:
    """The users in the body of a 200 to `/v1/users`: what its items look like is not documented, names alone will do.

    Raises RowError where an item cannot be read, EnvelopeError where the body is not a success with a list.
    """
    rows = decode_data(_users, decode_envelope(body, url=url), url=url)
    return make_rows(rows, _made_user, {}, url=url)


def decode_user(body: bytes, *, url: str = "") -> User:
    """The user in the body of a 200 to `/v1/users/<username>`.

    Raises EnvelopeError where the body is not a success with one (RowError with row 0 where a field cannot be read).
    """
    row = decode_data(_user, decode_envelope(body, url=url), url=url)
    return make_rows([row], _made_user, {}, url=url)[0]


def decode_names(body: bytes, *, url: str = "") -> list[str]:
    """The list of strings in the body of a 200, `/v1/calls/channels`'s for instance.

    Raises RowError where an item is no string, EnvelopeError where the body is not a success with a list.
    """
    return decode_data(_names, decode_envelope(body, url=url), url=url)


def decode_channel(body: bytes, *, url: str = "") -> Channel:
    """The channel in the body of a 200 to `/v1/calls/channels/<channel>`.

    Raises EnvelopeError where the body is not a success with one (RowError with row 0 where a field cannot be read).
    """
    row = decode_data(_channel, decode_envelope(body, url=url), url=url)
    return make_rows([row], _made_channel, {"seconds": seconds}, url=url)[0]


def decode_records(body: bytes, zone: ZoneInfo, *, url: str = "") -> list[Recording]:
    """The recordings in the body of a 200 to `/v1/users/<username>/records`; times that name no zone are in `zone`.

    Raises RowError where a row is not a file name and a time, EnvelopeError where the body is not a success with a
    list.
    """
    read = reader_of(zone).read
    rows = decode_data(_records, decode_envelope(body, url=url), url=url)
    return make_rows(rows, lambda row: Recording(row.file, read(row.time)), {"time": read}, url=url)


def decode_name(body: bytes, *, url: str = "") -> str:
    """The new user's name in the body of a 200 to `/v1/users/create`: alone, or as `user` of an object.

    Raises EnvelopeError where the body is not a success with one.
    """
    data = decode_data(_name, decode_envelope(body, url=url), url=url)
    try:
        name = text(data.user if isinstance(data, _User) else data)
    except ValueError as error:
        raise EnvelopeError(f"data: {error}", status=200, url=url) from None
    if not name:
        raise EnvelopeError("data: the name is empty", status=200, url=url)
    return name


def decode_done(body: bytes, *, url: str = "") -> None:
    """Nothing, where the body of a 200 is a success, whatever its data. Raises EnvelopeError otherwise."""
    decode_envelope(body, url=url)


def decode_balance(body: bytes, *, url: str = "") -> Decimal:
    """The number in the body of a 200 to `/v1/accounts/<id>/balance`, as exact as it was written.

    Raises EnvelopeError where the body is not a success with a number or its string.
    """
    data = decode_envelope(body, url=url)
    value = decode_data(_number, data, url=url)
    written = value.strip() if isinstance(value, str) else bytes(data).decode().strip()
    if not _SUM.fullmatch(written):
        raise EnvelopeError("data: not a plausible sum", status=200, url=url)
    return Decimal(written)


def decode_phone_number(body: bytes, *, url: str = "") -> PhoneNumber:
    """What the body of a 200 to `/v1/phone_numbers/<E.164>` tells.

    Raises EnvelopeError where the body is not a success with an object of texts.
    """
    return decode_data(_phone_number, decode_envelope(body, url=url), url=url)


class _User(msgspec.Struct):
    user: Number
    account_id: Number | None = None
    num: Number | None = None
    mail: str | None = None
    voice_mail_box: Literal["on", "off"] | None = None
    password: str | None = None


class _Channel(msgspec.Struct):
    name: str = msgspec.field(name="Channel")
    caller_id_num: Number | None = msgspec.field(name="CallerIDNum", default=None)
    caller_id_name: Number | None = msgspec.field(name="CallerIDName", default=None)
    connected_line_num: Number | None = msgspec.field(name="ConnectedLineNum", default=None)
    connected_line_name: Number | None = msgspec.field(name="ConnectedLineName", default=None)
    seconds: Number | None = msgspec.field(name="Seconds", default=None)


class _Record(msgspec.Struct, array_like=True):
    file: str
    time: Number


def _made_user(row: _User | str) -> User:
    if isinstance(row, str):
        return User(user=row)
    return User(
        user=text(row.user),
        account_id=_text_or_none(row.account_id),
        num=_text_or_none(row.num),
        mail=row.mail,
        voice_mail_box=None if row.voice_mail_box is None else row.voice_mail_box == "on",
        password=row.password,
    )


def _made_channel(row: _Channel) -> Channel:
    return Channel(
        name=row.name,
        caller_id_num=_text_or_none(row.caller_id_num),
        caller_id_name=_text_or_none(row.caller_id_name),
        connected_line_num=_text_or_none(row.connected_line_num),
        connected_line_name=_text_or_none(row.connected_line_name),
        seconds=None if row.seconds is None else seconds(row.seconds),
    )


def _text_or_none(value: Number | None) -> str | None:
    return None if value is None else text(value)


_users = msgspec.json.Decoder(list[_User | str])
_user = msgspec.json.Decoder(_User)
_names = msgspec.json.Decoder(list[str])
_channel = msgspec.json.Decoder(_Channel)
_records = msgspec.json.Decoder(list[_Record])
_name = msgspec.json.Decoder(_User | int | float | str)
_number = msgspec.json.Decoder(int | float | str)
_phone_number = msgspec.json.Decoder(PhoneNumber)
