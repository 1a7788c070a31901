"""Call events as CloudEvents, judged by the CloudEvents project's own library."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given

from gateway.contract.events import CallEvent, ContractError, Header, decode_event, encode_data, headers_of
from tests.unit.contract.events import ONE, call_events

HEADERS = headers_of(ONE)
VALUE = encode_data(ONE)


def says_the_same(theirs: BaseCloudEvent, ours: CallEvent) -> None:
    attributes: dict[str, Any] = dict(theirs.get_attributes())
    assert attributes.pop("time") == ours.time
    assert attributes == {
        "specversion": "1.0",
        "id": ours.id,
        "source": ours.source,
        "type": ours.type,
        "subject": ours.subject,
        "sequence": str(ours.data.sequence),
        "datacontenttype": "application/json",
    }
    data = theirs.get_data()
    assert isinstance(data, dict)
    assert msgspec.convert(data, type(ours.data)) == ours.data


@given(call_events())
def test_the_library_reads_our_kafka_records(event: CallEvent) -> None:
    message = KafkaMessage(headers=dict(headers_of(event)), key=None, value=encode_data(event))
    says_the_same(from_binary(message, JSONFormat()), event)


@given(call_events())
def test_we_read_the_library_s_kafka_records(event: CallEvent) -> None:
    theirs = from_binary(
        KafkaMessage(headers=dict(headers_of(event)), key=None, value=encode_data(event)), JSONFormat()
    )
    written = to_binary(theirs, JSONFormat())
    assert decode_event(list(written.headers.items()), written.value) == event


@given(call_events())
def test_the_library_reads_our_webhook_bodies(event: CallEvent) -> None:
    says_the_same(JSONFormat().read(None, msgspec.json.encode(event)), event)


@given(call_events())
def test_we_read_the_library_s_structured_json(event: CallEvent) -> None:
    written = JSONFormat().write(JSONFormat().read(None, msgspec.json.encode(event)))
    assert msgspec.json.decode(written, type=CallEvent) == event


@given(call_events())
def test_a_record_is_read_as_it_was_written(event: CallEvent) -> None:
    assert decode_event(headers_of(event), encode_data(event)) == event


def test_the_headers_are_those_of_cloudevents_binary_mode() -> None:
    assert dict(HEADERS) == {
        "ce_specversion": b"1.0",
        "ce_id": b"01HF7YAT00000000000000000A-1",
        "ce_source": b"/ringcloud/accounts/1000",
        "ce_type": b"call.started",
        "ce_subject": b"01HF7YAT00000000000000000A",
        "ce_time": b"2023-11-14T22:13:20.123000Z",
        "ce_sequence": b"1",
        "content-type": b"application/json",
    }


def test_times_are_carried_in_utc() -> None:
    data = json.loads(VALUE)
    for name in ("not_before", "not_after", "observed_at"):
        assert data[name].endswith("Z")
        assert datetime.fromisoformat(data[name]) == getattr(ONE.data, name)


def test_headers_of_others_are_let_be() -> None:
    others: list[Header] = [("traceparent", b"00-1-2-03"), ("x", b"\xff")]
    assert decode_event([*others, *HEADERS], VALUE) == ONE


@pytest.mark.parametrize("name", [name for name, _ in HEADERS if name != "content-type"])
def test_a_missing_header_is_named(name: str) -> None:
    with pytest.raises(ContractError, match=f"header {name} is missing"):
        decode_event([header for header in HEADERS if header[0] != name], VALUE)


@pytest.mark.parametrize("name", ["ce_id", "ce_time"])
def test_a_null_header_is_missing(name: str) -> None:
    # Kafka allows it, and its clients hand it on.
    null: Any = (name, None)
    with pytest.raises(ContractError, match=f"header {name} is missing"):
        decode_event([null if header[0] == name else header for header in HEADERS], VALUE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_id", b"\xff"),
        ("ce_type", b"call.begun"),
        ("ce_time", b"yesterday"),
        ("ce_time", b"2023-11-14T22:13:20"),
        ("ce_specversion", b"0.3"),
    ],
)
def test_a_wrong_header_is_named(name: str, value: bytes) -> None:
    with pytest.raises(ContractError, match=name):
        decode_event([(name, value) if header[0] == name else header for header in HEADERS], VALUE)


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(ContractError, match=r"data: .*`\$\.account`"):
        decode_event(HEADERS, VALUE.replace(b'"account":1000', b'"account":"1000"'))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ContractError, match=r"data: .*`account`"):
        decode_event(HEADERS, VALUE.replace(b'"account":1000,', b""))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b"{",
        VALUE.decode().encode("utf-16"),
        VALUE.replace(b'"400"', b'"\xff"'),
        VALUE[:-1] + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
)
def test_a_value_that_is_no_call_data_is_refused(value: bytes | None) -> None:
    with pytest.raises(ContractError, match="data: "):
        decode_event(HEADERS, value)


def test_fields_that_come_later_are_let_be() -> None:
    assert decode_event(HEADERS, VALUE[:-1] + b',"talk_time":7}') == ONE
