"""Commands, deliveries and endpoints: what they take and what they refuse."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.commands import FINAL_STATUSES, SEEN_STATUSES, CommandResult, CommandStatus, Originate
from gateway.contract.deliveries import RETRY_DELAYS, Delivery, delivery_id
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent
from gateway.contract.faults import fault
from gateway.contract.times import utc
from tests.unit.contract.events import call_events

COMMAND: dict[str, Any] = {
    "type": "call.originate",
    "id": "order-17:1",
    "account": 1000,
    "user": "anna",
    "num": "+74950001122",
    "expires_at": "2026-01-01T00:00:00+03:00",
}
ENDPOINT: dict[str, Any] = {"id": "crm-1", "url": "https://crm.example.com/hooks", "secrets": ["env:CRM"]}


def test_a_command_is_read() -> None:
    command = msgspec.convert(COMMAND, Originate)
    assert command == msgspec.json.decode(msgspec.json.encode(command), type=Originate)
    assert command.expires_at is not None
    assert command.expires_at.isoformat() == "2026-01-01T00:00:00+03:00"


@pytest.mark.parametrize("num", ["1", "+1", "*43#", "0" * 32, "+" + "9" * 32])
def test_a_number_is_digits_stars_and_hashes(num: str) -> None:
    assert msgspec.convert({**COMMAND, "num": num}, Originate).num == num


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "a" * 129),
        ("id", "a.b"),
        ("id", "a b"),
        ("id", "a\n"),
        ("id", 1),
        ("account", 0),
        ("account", "1000"),
        ("account", True),
        ("user", ""),
        ("user", "a" * 65),
        ("num", ""),
        ("num", "+"),
        ("num", "1\n"),
        ("num", "7-495"),
        ("num", "0" * 33),
        ("num", "٣"),
        ("expires_at", "2026-01-01T00:00:00"),
        ("expires_at", "soon"),
        ("expires_at", 1),
    ],
)
def test_a_wrong_command_names_the_field(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(f"`$.{field}`")):
        msgspec.convert({**COMMAND, field: value}, Originate)


def test_a_result_can_be_told_of_what_could_not_be_read() -> None:
    result = CommandResult(
        command_id="a", account=None, type=None, sequence=1, status="rejected", at=utc(0), field="num"
    )
    assert msgspec.json.decode(msgspec.json.encode(result), type=CommandResult) == result


def test_some_statuses_are_final() -> None:
    every = set(CommandStatus.__args__)  # type: ignore[attr-defined] # a Literal's
    assert every - FINAL_STATUSES == {"accepted", "delayed", *SEEN_STATUSES}


@given(call_events(), st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True))
def test_a_delivery_id_has_no_dot_and_is_the_same_each_time(event: CallEvent, name: str) -> None:
    endpoint = msgspec.convert({**ENDPOINT, "id": name}, Endpoint)
    assert delivery_id(event.id, endpoint.id) == f"{event.id}-{name}"
    assert "." not in delivery_id(event.id, endpoint.id)


@given(call_events())
def test_a_delivery_carries_its_event_byte_for_byte(event: CallEvent) -> None:
    body = msgspec.json.encode(event)
    delivery = Delivery(
        id=delivery_id(event.id, "crm"),
        endpoint="crm",
        event_type=event.type,
        account=event.data.account,
        call_id=event.subject,
        event=msgspec.Raw(body),
        created_at=utc(0),
    )
    again = msgspec.json.decode(msgspec.json.encode(delivery), type=Delivery)
    assert bytes(again.event) == body
    assert again.attempts == 0
    assert again.due_at is None


def test_the_delays_between_attempts() -> None:
    minute, hour = 60, 3_600
    expected = [5, 30, 2 * minute, 10 * minute, 30 * minute, 2 * hour, 6 * hour, 12 * hour, 24 * hour]
    assert list(RETRY_DELAYS) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "crm.1"),
        ("id", "CRM"),
        ("id", "crm\n"),
        ("id", "a" * 65),
        ("url", "ftp://example.com"),
        ("secrets", []),
        ("events", ["call.begun"]),
        ("accounts", ["1"]),
        ("directions", ["inbound"]),
        ("dispositions", ["answered"]),
        ("numbers", ["*"]),
        ("numbers", ["7495 000"]),
        ("numbers", ["7" * 65]),
        ("filter", "a" * 1025),
        ("body", "slim"),
        ("timeout", 0),
        ("timeout", 15.1),
        ("concurrency", 0),
        ("concurrency", 257),
    ],
)
def test_a_wrong_endpoint_names_the_field(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(f"`$.{field}")):
        msgspec.convert({**ENDPOINT, field: value}, Endpoint)


@pytest.mark.parametrize(
    ("type_", "changes", "field", "words"),
    [
        (Originate, {"num": "7-495"}, "num", "must be a number to dial"),
        (Originate, {"id": "a.b"}, "id", "must be letters, digits"),
        (Endpoint, {"id": "CRM"}, "id", "must be 1 to 64 lower-case letters"),
        (Endpoint, {"url": "ftp://x"}, "url", "must be an http"),
        (Endpoint, {"urls": []}, "urls", "is not known"),
        (Endpoint, {"numbers": ["*"]}, "numbers[0]", "must be a number, or how one begins"),
        (Endpoint, {"filter": "data.src =="}, "filter", "is not JMESPath"),
    ],
)
def test_what_is_wrong_with_a_field_is_said_in_words(
    type_: type[msgspec.Struct], changes: dict[str, object], field: str, words: str
) -> None:
    right: dict[type[msgspec.Struct], dict[str, object]] = {
        Originate: {"type": "call.originate", "id": "a", "account": 1, "user": "u", "num": "1"},
        Endpoint: {"id": "crm", "url": "https://crm.example.com", "secrets": ["env:S"]},
    }
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.convert({**right[type_], **changes}, type_)
    found, reason = fault(raised.value)
    assert found == field
    assert words in reason
    assert "regex" not in reason
