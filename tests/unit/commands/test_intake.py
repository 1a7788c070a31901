"""Records of the command topic: commands are read, everything else is rejected by name of the field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.intake import MAX_BYTES, Rejected, read, read_record
from gateway.contract.commands import COMMAND_TYPES, Originate, type_of

GOOD: dict[str, Any] = {"type": "call.originate", "id": "a1", "account": 1000, "user": "anna", "num": "74950001122"}


def record(**changes: Any) -> bytes:
    return msgspec.json.encode({name: value for name, value in {**GOOD, **changes}.items() if value is not ...})


def rejected(value: bytes | None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read(value)
    return caught.value


def test_a_command_is_read() -> None:
    expected = Originate(
        id="a1", account=1000, user="anna", num="74950001122", expires_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert read(record(expires_at="2026-01-01T00:00:00Z")) == expected
    assert read(record(expires_at=None)).expires_at is None


@given(st.from_regex(r"[A-Za-z0-9_:-]{1,128}", fullmatch=True), st.integers(1, 2**53), st.text(min_size=1, max_size=64))
def test_what_is_encoded_is_read(id_: str, account: int, user: str) -> None:
    try:
        user.encode()
    except UnicodeEncodeError:
        return
    command = Originate(id=id_, account=account, user=user, num="+1")
    assert read(msgspec.json.encode(command)) == command


@pytest.mark.parametrize("field", ["type", "id", "account", "user", "num"])
def test_a_missing_field_is_named(field: str) -> None:
    error = rejected(record(**{field: ...}))
    assert error.field == field
    assert error.message == "is missing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 5),
        ("id", ""),
        ("id", "a.b"),
        ("id", "a\n"),
        ("account", "1000"),
        ("account", 0),
        ("account", -5),
        ("account", 1.5),
        ("account", True),
        ("account", None),
        ("user", ""),
        ("user", ["anna"]),
        ("user", {"name": "anna"}),
        ("user", "a" * 65),
        ("num", "7 495"),
        ("num", "1\n"),
        ("num", 74950001122),
        ("expires_at", "2026-01-01T00:00:00"),
        ("expires_at", "tomorrow"),
        ("expires_at", 1),
        ("type", 7),
        ("type", "call.hangup"),
        ("priority", "high"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    assert rejected(record(**{field: value})).field == field


def test_an_unknown_command_is_named() -> None:
    error = rejected(record(type="call.hangup"))
    assert (error.field, error.message) == ("type", "there is no 'call.hangup'")
    assert error.type == "call.hangup"


def test_a_rejection_repeats_no_more_than_a_line() -> None:
    assert len(rejected(record(type="x" * 60_000)).message) <= 200


def test_what_could_be_read_is_told() -> None:
    error = rejected(record(num="x"))
    assert (error.command_id, error.account, error.type) == ("a1", 1000, "call.originate")


@pytest.mark.parametrize(
    ("changes", "command_id", "account", "type_"),
    [
        ({"id": "a.b"}, None, 1000, "call.originate"),
        ({"id": 1}, None, 1000, "call.originate"),
        ({"account": True}, "a1", None, "call.originate"),
        ({"account": "1"}, "a1", None, "call.originate"),
        ({"type": 5}, "a1", 1000, None),
        ({"type": "x" * 65}, "a1", 1000, None),
    ],
)
def test_what_is_wrong_is_not_told_as_if_it_were_right(
    changes: dict[str, Any], command_id: str | None, account: int | None, type_: str | None
) -> None:
    error = rejected(record(**changes))
    assert (error.command_id, error.account, error.type) == (command_id, account, type_)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"call.originate",
        record() + b" {}",
        record().decode().encode("utf-16"),
        b"\xef\xbb\xbf" + record(),
        record(user="\xe9").decode().encode("latin-1"),
        record().replace(b"anna", rb"\ud800"),
    ],
)
def test_what_is_no_json_is_rejected_without_a_field(value: bytes) -> None:
    error = rejected(value)
    assert error.message.startswith("not JSON: ")
    assert error.field is None
    assert error.command_id is None


@pytest.mark.parametrize("value", [b"[]", b'"call.originate"', b"null", b"7", b"true", b"[" * 30_000])
def test_json_that_is_no_object_is_rejected(value: bytes) -> None:
    error = rejected(value)
    assert "object" in error.message
    assert error.field is None


@pytest.mark.parametrize("field", ["user", "x"])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_rejected(field: str, opening: bytes, closing: bytes) -> None:
    many = 5_000
    deep = opening * many + b"1" + closing * many
    value = record(**{field: ...})[:-1] + b',"' + field.encode() + b'":' + deep + b"}"
    assert len(value) <= MAX_BYTES
    rejected(value)


def test_a_record_without_a_value_is_rejected() -> None:
    assert rejected(None).message == "the record has no value"


def test_what_is_too_large_is_not_even_decoded() -> None:
    error = rejected(record(user="a" * MAX_BYTES))
    assert str(MAX_BYTES) in error.message
    assert error.command_id is None
    assert rejected(record(user="a" * (MAX_BYTES - 200))).field == "user"


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_do_anything_but_be_rejected(value: bytes) -> None:
    rejected(value)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*GOOD, "expires_at"]), json_values)
def test_any_value_of_a_field_is_taken_or_names_it(field: str, value: Any) -> None:
    try:
        raw = record(**{field: value})
    except UnicodeEncodeError:
        return
    try:
        read(raw)
    except Rejected as error:
        assert error.field == field  # noqa: PT017 - both ways are right


USER = {"id": "a1", "account": 1000, "user": "anna"}
EACH: list[dict[str, Any]] = [
    GOOD,
    {"type": "user.create", "id": "a1", "account": 1000, "num": "450", "mail": "a@b.c", "password": "hush"},
    {"type": "user.update_password", **USER, "password": "hush"},
    {"type": "user.update_extension_number", **USER, "num": "450"},
    {"type": "user.update_email", **USER, "mail": "a@b.c"},
    {"type": "user.voice_mail_box_on", **USER},
    {"type": "user.voice_mail_box_off", **USER},
]


@pytest.mark.parametrize("given", EACH, ids=lambda given: given["type"])
def test_each_type_is_read_and_its_repr_shows_no_password(given: dict[str, Any]) -> None:
    command = read(msgspec.json.encode(given))
    assert type_of(command) == given["type"]
    assert msgspec.to_builtins(command) == {**given, "expires_at": None, "reply_to": None}
    assert "hush" not in repr(command)


def test_those_are_all_types() -> None:
    assert tuple(given["type"] for given in EACH) == COMMAND_TYPES


@pytest.mark.parametrize(
    ("type_", "field", "value"),
    [
        ("user.create", "num", "350"),
        ("user.create", "num", "4500"),
        ("user.create", "mail", "nobody"),
        ("user.create", "password", ""),
        ("user.create", "user", "anna"),
        ("user.update_password", "password", "hush" * 300),
        ("user.update_password", "user", ".."),
        ("user.update_email", "mail", "a@b c"),
        ("user.voice_mail_box_on", "num", "450"),
        ("user.voice_mail_box_off", "user", ""),
        ("user.update_extension_number", "reply_to", 7),
    ],
)
def test_a_wrong_field_of_a_user_command_is_named_and_not_repeated(type_: str, field: str, value: object) -> None:
    (given,) = [one for one in EACH if one["type"] == type_]
    error = rejected(msgspec.json.encode({**given, field: value}))
    assert (error.field, error.command_id, error.type) == (field, "a1", type_)
    assert "hush" not in error.message


@pytest.mark.parametrize(("key", "field"), [(b"1000", None), (None, None), (b"1001", "account"), (b"", "account")])
def test_a_record_s_key_is_the_account_or_none(key: bytes | None, field: str | None) -> None:
    record_ = ConsumerRecord("t", 0, 0, 0, 0, key, record(), None, 0, 0, ())
    try:
        assert read_record(record_).id == "a1"
    except Rejected as error:
        assert (error.field, error.command_id, error.account) == (field, "a1", 1000)  # noqa: PT017 - both ways are right
    else:
        assert field is None
