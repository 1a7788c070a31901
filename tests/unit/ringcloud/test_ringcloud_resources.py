"""Decoding of records, names, sums and numbers: what is tolerated, and that nothing but the family's errors comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.ringcloud.errors import EnvelopeError, RowError
from gateway.ringcloud.resources import (
    PhoneNumber,
    Recording,
    decode_balance,
    decode_channel,
    decode_done,
    decode_name,
    decode_phone_number,
    decode_records,
    decode_user,
    decode_users,
)
from tests.unit.ringcloud.test_ringcloud_rows import JSON, MOSCOW, NOON, body, same


def records(data: bytes) -> list[Recording]:
    return decode_records(data, MOSCOW)


def test_a_recordings_time_is_in_the_accounts_zone() -> None:
    rows = body([["1.wav", "2026-03-03 12:30:00"]])
    assert records(rows) == [Recording("1.wav", same(NOON))]
    assert decode_records(rows, ZoneInfo("UTC")) == [Recording("1.wav", same(NOON + 3 * 3_600_000))]
    assert records(body([])) == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (["2.wav", "soon"], "time"),
        (["2.wav", None], "[1]"),
        ([5, "2026-03-03 12:30:00"], "[0]"),
        (["2.wav"], None),
        ({"file": "2.wav"}, None),
        (None, None),
    ],
)
def test_a_record_that_cannot_be_read_is_named(wrong: object, field: str | None) -> None:
    with pytest.raises(RowError) as raised:
        records(body([["1.wav", 0], wrong]))
    assert (raised.value.row, raised.value.field) == (1, field)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0", "0"),
        ("-12.50", "-12.50"),
        ('" 12.50 "', "12.50"),
        ("1.5e3", "1500"),
        ("123456789012345678.123456789012345678", "123456789012345678.123456789012345678"),
    ],
)
def test_a_balance_is_exact(written: str, expected: str) -> None:
    assert decode_balance(b'{"status":"success","data":' + written.encode() + b"}") == Decimal(expected)


@pytest.mark.parametrize(
    "wrong", ["null", "true", "[]", "{}", '""', '"NaN"', '"Infinity"', "1e999", "1e100", "9" * 19, '"1,5"', '"12 RUB"']
)
def test_what_is_no_balance_is_refused(wrong: str) -> None:
    with pytest.raises(EnvelopeError):
        decode_balance(b'{"status":"success","data":' + wrong.encode() + b"}")


@pytest.mark.parametrize("wrong", [None, "", [], {}, True, 1.5, {"user": None}, {"user": ""}])
def test_what_is_no_name_is_refused(wrong: object) -> None:
    with pytest.raises(EnvelopeError):
        decode_name(body(wrong))


@pytest.mark.parametrize("wrong", [None, "Russia", [], {"country": 7}])
def test_what_is_no_phone_number_is_refused(wrong: object) -> None:
    with pytest.raises(EnvelopeError):
        decode_phone_number(body(wrong))


def test_a_phone_number_may_be_half_known() -> None:
    assert decode_phone_number(body({"operator": "MTS", "region": None})) == PhoneNumber(operator="MTS")


DECODERS: tuple[Callable[[bytes], object], ...] = (
    records,
    decode_balance,
    decode_name,
    decode_done,
    decode_phone_number,
    decode_users,
    decode_user,
    decode_channel,
)
VALID: tuple[object, ...] = (
    [["1.wav", "2026-03-03 12:30:00"], ["2.wav", 1_772_530_200]],
    -1234.5,
    "12.50",
    "410",
    {"user": 410, "voice_mail_box": "on", "mail": "a@b", "password": "x", "account_id": 1000, "num": "400"},
    {"country": "Russia", "region": "Moscow", "operator": None},
    {"Channel": "SIP/400-1", "CallerIDNum": 400, "CallerIDName": None, "Seconds": "12"},
)


def decode_with_all(data: bytes) -> None:
    """Only the errors of the family come out, and what is decoded is text that can be encoded again."""
    for decode in DECODERS:
        try:
            decoded = decode(data)
        except EnvelopeError as error:
            str(error).encode()
        else:
            repr(decoded).encode()
            if isinstance(decoded, Decimal):
                assert len(f"{decoded:f}") < 200
            if isinstance(decoded, str):
                assert decoded.encode()


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    decode_with_all(data)
    decode_with_all(b'{"status":"success","data":' + data + b"}")


@given(JSON)
@settings(max_examples=300)
def test_arbitrary_json(data: object) -> None:
    decode_with_all(json.dumps(data).encode())
    decode_with_all(body(data))
    decode_with_all(body([data, data]))
    decode_with_all(body([["1.wav", data], [data, 0]]))


@given(valid=st.sampled_from(VALID), data=st.data())
@settings(max_examples=500)
def test_valid_answers_with_bytes_replaced(valid: object, data: st.DataObject) -> None:
    mutated = bytearray(body(valid))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(mutated) - 1)))
        kind = data.draw(st.sampled_from(["replace", "cut", "insert", "end"]))
        if kind == "replace" and mutated:
            mutated[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del mutated[at : at + data.draw(st.integers(1, 5))]
        elif kind == "insert":
            mutated[at:at] = data.draw(
                st.sampled_from([b'"', b"\\", b"\\ud800", b"-", b"9" * 30, b"e99", b"[" * 2000, b"\xc3", b"\0"])
            )
        else:
            del mutated[at + 1 :]
    decode_with_all(bytes(mutated))


@given(st.sampled_from(VALID), JSON.map(json.dumps), st.integers(0, 20))
@settings(max_examples=300)
@example(VALID[0], "9" * 5000, 1)
@example(VALID[1], "1" + "0" * 400, 0)
@example(VALID[1], "1e-99", 0)
def test_valid_answers_with_one_value_replaced(valid: object, value: str, which: int) -> None:
    """The `which`-th scalar of the data becomes `value`."""
    seen = 0

    def mark(part: object) -> object:
        nonlocal seen
        if isinstance(part, list):
            return [mark(item) for item in part]
        if isinstance(part, dict):
            return {key: mark(item) for key, item in part.items()}
        seen += 1
        return "MARK" if seen == which + 1 else part

    decode_with_all(body(mark(valid)).replace(b'"MARK"', value.encode()))
