"""The rows of the two lists of calls: tolerant of what is not documented, strict about everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from gateway.ringcloud.envelope import MAX_SECONDS, UNREADABLE, decode_data, decode_envelope, make_rows, seconds, text
from gateway.ringcloud.times import Number, WallTime, reader_of


class ActiveRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the list of current calls. `seconds`: dialling and talking so far, whole."""

    src: str
    dst: str
    seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)]
    status: str


class CompletedRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the list of completed calls. `duration`: seconds, dialling and talking together, whole.

    `direction` and `disposition` are as RingCloud gives them (documented: `incoming`, `outgoing`, `internal`;
    `ANSWERED`, `NO ANSWER`, `BUSY`, `FAILED`). `rec_file` is None where it is null, empty or the string `None`.
    """

    src: str
    dst: str
    direction: str
    start: WallTime
    end: WallTime
    duration: int
    disposition: str
    rec_file: str | None


def decode_active(body: bytes, *, url: str = "") -> list[ActiveRow]:
    """The rows in the body of a 200 to `/v1/calls/active`; an empty list is a real answer.

    Raises RowError where a row cannot be read, EnvelopeError where the body is not a success with a list; `url` is
    what these name.
    """
    data = decode_envelope(body, url=url)
    try:
        # As most servers write it: nothing is left to do in Python.
        return _exact.decode(data)
    except UNREADABLE:
        rows = decode_data(_active, data, url=url)
    return make_rows(rows, _made_active, {"src": text, "dst": text, "seconds": seconds}, url=url)


def decode_completed(body: bytes, zone: ZoneInfo, *, url: str = "") -> list[CompletedRow]:
    """The rows in the body of a 200 to `/v1/calls/complite`; times that name no zone are in `zone`, the account's.

    Raises RowError where a row cannot be read, EnvelopeError where the body is not a success with a list; `url` is
    what these name.
    """
    data = decode_envelope(body, url=url)
    reader = reader_of(zone)
    try:
        # As most servers write it.
        exact = _exact_completed.decode(data)
        starts = reader.read_all([row.call_start_time for row in exact])
        ends = reader.read_all([row.call_end_time for row in exact])
    except UNREADABLE:
        return _tolerant(data, reader.read, url=url)
    return [
        CompletedRow(row.src, row.dst, row.direction, start, end, row.duration, row.disposition, _named(row.rec_file))
        for row, start, end in zip(exact, starts, ends, strict=True)
    ]


def _named(rec_file: str | None) -> str | None:
    return None if rec_file == "None" else rec_file or None


def _tolerant(data: msgspec.Raw, read: Callable[[Number], WallTime], *, url: str) -> list[CompletedRow]:
    def made(row: _Completed) -> CompletedRow:
        return CompletedRow(
            text(row.src),
            text(row.dst),
            row.direction,
            read(row.call_start_time),
            read(row.call_end_time),
            seconds(row.duration),
            row.disposition,
            _named(row.rec_file),
        )

    rows = decode_data(_completed, data, url=url)
    fields = {"src": text, "dst": text, "call_start_time": read, "call_end_time": read, "duration": seconds}
    return make_rows(rows, made, fields, url=url)


class _Active(msgspec.Struct, gc=False):
    src: Number
    dst: Number
    seconds: Number
    status: str


class _Completed(msgspec.Struct, gc=False):
    src: Number
    dst: Number
    direction: str
    call_start_time: Number
    call_end_time: Number
    duration: Number
    disposition: str
    rec_file: str | None = None


class _ExactCompleted(msgspec.Struct, gc=False):
    src: str
    dst: str
    direction: str
    call_start_time: str
    call_end_time: str
    duration: Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)]
    disposition: str
    rec_file: str | None = None


def _made_active(row: _Active) -> ActiveRow:
    return ActiveRow(text(row.src), text(row.dst), seconds(row.seconds), row.status)


_exact = msgspec.json.Decoder(list[ActiveRow])
_active = msgspec.json.Decoder(list[_Active])
_exact_completed = msgspec.json.Decoder(list[_ExactCompleted])
_completed = msgspec.json.Decoder(list[_Completed])
