"""Decoding: what is tolerated, what is refused and how it is named, and that nothing else ever comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.ringcloud.envelope import message_of
from gateway.ringcloud.errors import EnvelopeError, RowError
from gateway.ringcloud.resources import (
    Channel,
    User,
    decode_channel,
    decode_names,
    decode_user,
    decode_users,
)
from gateway.ringcloud.rows import ActiveRow, CompletedRow, decode_active, decode_completed
from gateway.ringcloud.times import TimeReader, WallTime

MOSCOW = ZoneInfo("Europe/Moscow")
BERLIN = ZoneInfo("Europe/Berlin")
NOON = 1_772_530_200_000  # 2026-03-03T09:30:00Z

ACTIVE = {"src": "400", "dst": "74950001122", "seconds": 12, "status": "current"}
COMPLETED = {
    "status": "complete",
    "src": "400",
    "dst": "74950001122",
    "direction": "outgoing",
    "call_start_time": "2026-03-03 12:30:00",
    "call_end_time": "2026-03-03 12:31:05",
    "duration": 65,
    "disposition": "ANSWERED",
    "rec_file": "/records/1.wav",
}


def body(data: Any) -> bytes:
    return json.dumps({"status": "success", "message": None, "data": data}).encode()


def completed(data: bytes) -> list[CompletedRow]:
    return decode_completed(data, MOSCOW)


def same(ms: int) -> WallTime:
    return WallTime(ms, ms)


def test_documented_rows() -> None:
    assert decode_active(body([ACTIVE])) == [ActiveRow("400", "74950001122", 12, "current")]
    assert completed(body([COMPLETED])) == [
        CompletedRow(
            "400", "74950001122", "outgoing", same(NOON), same(NOON + 65_000), 65, "ANSWERED", "/records/1.wav"
        )
    ]


def test_an_empty_list_is_an_answer() -> None:
    assert decode_active(body([])) == []
    assert completed(body([])) == []


def test_identical_rows_stay_as_many_as_they_are() -> None:
    assert len(decode_active(body([ACTIVE] * 3))) == 3


@pytest.mark.parametrize("decode", [decode_active, completed])
@pytest.mark.parametrize(
    ("given_", "read"), [(400, "400"), (74950001122.0, "74950001122"), ("+7 495", "+7 495"), ("", "")]
)
def test_numbers_may_be_numbers_or_strings(decode: Callable[[bytes], list[Any]], given_: object, read: str) -> None:
    row = {**(ACTIVE if decode is decode_active else COMPLETED), "src": given_, "dst": given_}
    assert [(row.src, row.dst) for row in decode(body([row]))] == [(read, read)]


@pytest.mark.parametrize(
    ("given_", "read"), [(0, 0), ("12", 12), (12.9, 12), ("12.9", 12), (" 7 ", 7), (2**31 - 1, 2**31 - 1)]
)
def test_seconds_may_be_numbers_or_strings(given_: object, read: int) -> None:
    assert decode_active(body([{**ACTIVE, "seconds": given_}]))[0].seconds == read
    assert completed(body([{**COMPLETED, "duration": given_}]))[0].duration == read


@pytest.mark.parametrize("wrong", [-1, -0.5, "-1", "", "1m", "٣", "1_0", 2**31, 1e300, None, True, [], {}])
def test_wrong_seconds_name_row_and_field(wrong: object) -> None:
    with pytest.raises(RowError) as raised:
        decode_active(body([ACTIVE, ACTIVE, {**ACTIVE, "seconds": wrong}]), url="http://x/v1/calls/active")
    assert (raised.value.row, raised.value.field, raised.value.status) == (2, "seconds", 200)
    assert "row 2, seconds" in str(raised.value)
    assert str(raised.value).startswith("http://x/v1/calls/active: 200: ")
    with pytest.raises(RowError) as raised:
        completed(body([COMPLETED, {**COMPLETED, "duration": wrong}]))
    assert (raised.value.row, raised.value.field) == (1, "duration")


@pytest.mark.parametrize(
    "field", ["src", "dst", "call_start_time", "call_end_time", "duration", "direction", "disposition"]
)
@pytest.mark.parametrize("spoil", ["missing", None, [], {}, False])
def test_an_unreadable_field_names_row_and_field(field: str, spoil: object) -> None:
    row: dict[str, object] = {**COMPLETED, field: spoil}
    if spoil == "missing":
        del row[field]
    with pytest.raises(RowError) as raised:
        completed(body([COMPLETED, row]))
    assert (raised.value.row, raised.value.field) == (1, field)


@pytest.mark.parametrize("number", [1.5, float("1e400"), -0.25])
def test_a_fraction_is_no_phone_number(number: float) -> None:
    with pytest.raises(RowError):
        decode_active(body([{**ACTIVE, "src": number}]).replace(b"Infinity", b"1e400"))


def test_a_row_that_is_no_object_is_named() -> None:
    with pytest.raises(RowError) as raised:
        decode_active(body([ACTIVE, 5]))
    assert (raised.value.row, raised.value.field) == (1, None)


@pytest.mark.parametrize("none", [None, "", "None", "missing"])
def test_no_recording(none: object) -> None:
    row = {**COMPLETED, "rec_file": none}
    if none == "missing":
        del row["rec_file"]
    assert completed(body([row]))[0].rec_file is None


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        ("2026-03-03 12:30:00", NOON),
        ("2026-03-03T12:30:00", NOON),
        (" 2026-03-03 12:30:00 ", NOON),
        ("2026-03-03T09:30:00Z", NOON),
        ("2026-03-03T09:30:00+00:00", NOON),
        ("2026-03-03 14:30:00+05:00", NOON),
        ("2026-03-03T12:30+03", NOON),
        ("2026-03-03T12:30:00.250", NOON + 250),
        ("20260303T123000", NOON),
        (NOON // 1000, NOON),
        (str(NOON // 1000), NOON),
        (NOON / 1000 + 0.5, NOON + 500),
        ("1772530200.5", NOON + 500),
        (0, 0),
    ],
)
def test_times(given_: object, read: int) -> None:
    row = completed(body([{**COMPLETED, "call_start_time": given_, "call_end_time": given_}]))[0]
    assert (row.start, row.end) == (same(read), same(read))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "soon",
        "2026-03-03",
        "2026-13-03 12:30:00",
        "2026-02-30 12:30:00",
        "2026-03-03 25:30:00",
        "2026-03-03 12:60:00",
        "2026-03-03 12:30:60",
        "2026-03-03 12:30: 5",
        "0000-00-00 00:00:00",
        "1969-12-31 23:59:59",
        "9999-12-31 23:59:59",
        "0001-01-01T00:00:00+14:00",
        -1,
        NOON,
        str(NOON),
        1e300,
        "1e5",
        "nan",
    ],
)
def test_a_time_that_is_none_is_refused(wrong: object) -> None:
    for field in ("call_start_time", "call_end_time"):
        with pytest.raises(RowError) as raised:
            completed(body([{**COMPLETED, field: wrong}]))
        assert raised.value.field == field


def test_a_time_that_comes_twice_is_two_instants() -> None:
    read = TimeReader(BERLIN).read
    summer = int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()) * 1000
    for _ in range(2):
        assert read("2026-10-25 02:30:00") == WallTime(summer, summer + 3_600_000)
        assert read("2026-10-25 02:30:01") == WallTime(summer + 1000, summer + 3_601_000)
    assert read("2026-10-25 01:59:59") == same(summer - 1_801_000)
    assert read("2026-10-25T02:30:00+01:00") == same(summer + 3_600_000)


def test_a_time_that_never_comes_is_read_by_both_clocks() -> None:
    later = int(datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp()) * 1000
    assert TimeReader(BERLIN).read("2026-03-29 02:30:00") == WallTime(later - 3_600_000, later)


@given(
    moment=st.datetimes(datetime(1971, 1, 2), datetime(2199, 12, 30)).map(lambda at: at.replace(microsecond=0)),  # noqa: DTZ001
    zone=st.sampled_from([MOSCOW, BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("Asia/Kathmandu"), ZoneInfo("UTC")]),
)
def test_every_local_time_lies_within_its_bounds(moment: datetime, zone: ZoneInfo) -> None:
    read = TimeReader(zone).read
    expected = {int(moment.replace(tzinfo=zone, fold=fold).timestamp() * 1000) for fold in (0, 1)}
    for form in (f"{moment:%Y-%m-%d %H:%M:%S}", f"{moment:%Y-%m-%d %H:%M:%S}", f"{moment:%Y-%m-%dT%H:%M:%S.000}"):
        found = read(form)
        assert (found.earliest, found.latest) == (min(expected), max(expected))
        assert found.latest - found.earliest <= timedelta(hours=2) / timedelta(milliseconds=1)


def test_a_reader_remembers_within_bounds() -> None:
    reader = TimeReader(MOSCOW)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for minute in range(25_000):
        reader.read(f"{start + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S}")
    assert len(reader._minutes) <= 20_000


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"status": "success"}',
        b'{"status": "success", "data": null}',
        b'{"status": "success", "data": {}}',
        b'{"status": "success", "data": "[]"}',
        b'{"status": "success", "data": [}',
        b'{"status": "success", "data": []',
        b'{"status": "SUCCESS", "data": []}',
        b'{"status": null, "data": []}',
        b'{"data": []}',
        b'{"status": "success", "data": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_success_with_a_list_is_refused(wrong: bytes) -> None:
    for decode in (decode_active, completed, decode_users, decode_names):
        with pytest.raises(EnvelopeError) as raised:
            decode(wrong)
        assert not isinstance(raised.value, RowError)


def test_a_failure_with_status_200_says_why() -> None:
    with pytest.raises(EnvelopeError, match="the kernel sleeps"):
        decode_active(b'{"status": "error", "message": "the kernel\\n sleeps", "data": null}')


def test_users_and_channels() -> None:
    user = {
        "account_id": 1000,
        "num": 400,
        "user": "400",
        "voice_mail_box": "on",
        "mail": "a@b",
        "password": "pw-secret",
    }
    whole = User(user="400", account_id="1000", num="400", mail="a@b", voice_mail_box=True, password="pw-secret")
    assert decode_users(body([user, "401", {"user": 402}])) == [whole, User(user="401"), User(user="402")]
    assert decode_user(body(user)) == whole
    assert "pw-secret" not in repr(whole)
    assert decode_names(body(["SIP/400-1"])) == ["SIP/400-1"]
    channel = {"Channel": "SIP/400-1", "CallerIDNum": 400, "CallerIDName": None, "Seconds": "12"}
    assert decode_channel(body(channel)) == Channel(name="SIP/400-1", caller_id_num="400", seconds=12)
    unreadable: list[object] = [[], None, {}, {"user": None}, {"user": "1", "voice_mail_box": "maybe"}]
    for wrong in unreadable:
        with pytest.raises(EnvelopeError):
            decode_user(body(wrong))
    with pytest.raises(RowError) as raised:
        decode_channel(body({**channel, "Seconds": "soon"}))
    assert raised.value.field == "seconds"
    with pytest.raises(RowError) as raised:
        decode_names(body(["a", 5]))
    assert raised.value.row == 1


DECODERS: list[Callable[[bytes], object]] = [
    decode_active,
    completed,
    decode_users,
    decode_user,
    decode_names,
    decode_channel,
    message_of,
]


def decode_with_all(data: bytes) -> None:
    """Only the errors of the family come out, and what is decoded can be encoded again."""
    for decode in DECODERS:
        try:
            decoded = decode(data)
        except EnvelopeError as error:
            str(error).encode()
        else:
            repr(decoded).encode()
            for row in decoded if isinstance(decoded, list) else []:
                if isinstance(row, ActiveRow):
                    f"{row.src}{row.dst}{row.status}".encode()
                    assert 0 <= row.seconds <= 2**31 - 1
                if isinstance(row, CompletedRow):
                    f"{row.src}{row.dst}{row.direction}{row.disposition}{row.rec_file}".encode()
                    assert row.start.earliest <= row.start.latest


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["12", "400", "2026-03-03 12:30:00", "success", "None", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*COMPLETED, "seconds", "data", "user", "Channel"]), inner, max_size=10)
    ),
    max_leaves=20,
)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    decode_with_all(data)
    decode_with_all(b'{"status":"success","data":' + data + b"}")
    decode_with_all(b'{"status":"success","data":[{"src":"' + data + b'"}]}')


@given(JSON)
@settings(max_examples=300)
def test_arbitrary_json(data: object) -> None:
    decode_with_all(json.dumps(data).encode())
    decode_with_all(body(data))
    decode_with_all(body([data, data]))


@given(field=st.sampled_from([*COMPLETED, "seconds"]), value=JSON.map(json.dumps))
@settings(max_examples=500)
@example(field="src", value="9" * 5000)
@example(field="seconds", value="9" * 400)
@example(field="call_start_time", value="9" * 400)
@example(field="call_start_time", value="9" * 5000)
@example(field="call_end_time", value="1.7e308")
@example(field="duration", value=f'"{"9" * 500}"')
def test_valid_rows_with_one_value_replaced(field: str, value: str) -> None:
    row = json.dumps({**COMPLETED, **ACTIVE, field: "VALUE"}).replace('"VALUE"', value)
    decode_with_all(b'{"status":"success","data":[' + row.encode() + b"]}")


@given(data=st.data())
@settings(max_examples=500)
def test_valid_answers_with_bytes_replaced(data: st.DataObject) -> None:
    valid = bytearray(body([{**COMPLETED, **ACTIVE}, COMPLETED, ACTIVE]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(valid) - 1)))
        kind = data.draw(st.sampled_from(["replace", "cut", "insert", "end"]))
        if kind == "replace" and valid:
            valid[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del valid[at : at + data.draw(st.integers(1, 5))]
        elif kind == "insert":
            valid[at:at] = data.draw(
                st.sampled_from([b'"', b"\\", b"\\ud800", b"-", b"9" * 30, b"e99", b"\xc3", b"\0"])
            )
        else:
            del valid[at + 1 :]
    decode_with_all(bytes(valid))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "src": st.text() | st.integers(0, 10**15),
                "dst": st.text(),
                "seconds": st.integers(0, 10**6) | st.floats(0, 1e6) | st.integers(0, 10**6).map(str),
                "status": st.text(),
            }
        )
    )
)
def test_the_quick_way_and_the_tolerant_way_agree(rows: list[dict[str, Any]]) -> None:
    try:
        expected = [ActiveRow(str(row["src"]), row["dst"], int(float(row["seconds"])), row["status"]) for row in rows]
        assert decode_active(body(rows)) == expected
    except EnvelopeError:
        # Lone surrogates are no text.
        assert any("\ud800" <= char <= "\udfff" for row in rows for value in row.values() for char in str(value))
