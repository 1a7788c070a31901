"""The envelope round every answer, and what all decoding shares: errors that name row and field, tolerant scalars."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from gateway.ringcloud.errors import EnvelopeError, RowError
from gateway.ringcloud.times import Number

Made = TypeVar("Made")
Loose = TypeVar("Loose")

# Characters of RingCloud's own words in an error.
MAX_MESSAGE: Final = 500

# 68 years. Longer is no duration but something else read as one.
MAX_SECONDS: Final = 2**31 - 1

_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)
_AT = re.compile(
    r"(?:.*missing required field `(?P<missing>[^`]+)`)?.* - at `\$\[(?P<row>\d+)\](?:\.(?P<field>\w+)|(?P<item>\[\d+\]))?`?",
    re.DOTALL,
)


class _Envelope(msgspec.Struct):
    status: str
    message: object = None
    data: msgspec.Raw = msgspec.Raw()


_envelope = msgspec.json.Decoder(_Envelope)
_anything = msgspec.json.Decoder()

# What msgspec raises on bytes that are not what was asked for: its own errors, UnicodeDecodeError (both ValueErrors),
# and RecursionError on nesting without end.
UNREADABLE: Final = (ValueError, RecursionError)


def decode_envelope(body: bytes, *, url: str = "") -> msgspec.Raw:
    """The `data` of a success, not decoded. Raises EnvelopeError where `body` is not one."""
    try:
        envelope = _envelope.decode(body)
    except UNREADABLE:
        raise EnvelopeError("the body is not a JSON envelope", status=200, url=url) from None
    if envelope.status != "success":
        raise EnvelopeError(words(envelope.message) or "the status is not success", status=200, url=url)
    if not bytes(envelope.data):
        raise EnvelopeError("there is no data", status=200, url=url)
    return envelope.data


def message_of(body: bytes) -> str:
    """RingCloud's own words in the body of a failure, or nothing where there are none."""
    try:
        return words(_envelope.decode(body).message)
    except UNREADABLE:
        return ""


def words(message: object) -> str:
    """A `message` as one line of a bounded length: to be cut to MAX_MESSAGE once no secret can be cut in two by it."""
    return " ".join(message.split())[: 10 * MAX_MESSAGE] if isinstance(message, str) else ""


def decode_any(data: msgspec.Raw, *, url: str = "") -> object:
    """`data` as plain Python values. Raises EnvelopeError where it is not JSON."""
    try:
        return _anything.decode(data)
    except UNREADABLE:
        raise EnvelopeError("data is not JSON", status=200, url=url) from None


def decode_data(decoder: msgspec.json.Decoder[Made], data: msgspec.Raw, *, url: str = "") -> Made:
    """`data` by `decoder`. Raises RowError where an item of a list does not fit, EnvelopeError otherwise."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        reason = str(error)
    except UNREADABLE:
        reason = "data is not JSON"
    at = _AT.match(reason)
    if at is None:
        raise EnvelopeError(f"data: {reason}", status=200, url=url)
    raise RowError(int(at["row"]), at["missing"] or at["field"] or at["item"], reason.partition(" - at ")[0], url=url)


def make_rows(
    rows: list[Loose],
    make: Callable[[Loose], Made],
    fields: Mapping[str, Callable[[Number], object]],
    *,
    url: str = "",
) -> list[Made]:
    """`make` of every row.

    Where it raises ValueError, RowError is raised, naming the first of `fields` that cannot read its value.
    """
    made: list[Made] = []
    try:
        for row in rows:
            made.append(make(row))  # noqa: PERF401 - how far it came says which row it was
    except ValueError as error:
        reason = str(error)
    else:
        return made
    index = len(made)
    for field, read in fields.items():
        try:
            read(getattr(rows[index], field))
        except ValueError as error:
            raise RowError(index, field, str(error), url=url) from None
    raise RowError(index, None, reason, url=url)


def text(value: Number) -> str:
    """A number or its string, as a string. Raises ValueError where it is a number with a fraction."""
    if type(value) is str:
        return value
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not a whole number or a string")
    return str(int(value))


def seconds(value: Number) -> int:
    """A number of seconds or its string, fractions cut off. Raises ValueError where it is negative or no number."""
    if type(value) is int and 0 <= value <= MAX_SECONDS:
        return value
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value.strip()):
            raise ValueError("not a number of seconds")
        value = float(value)
    if not 0 <= value <= MAX_SECONDS:
        raise ValueError("not a plausible number of seconds")
    return int(value)
