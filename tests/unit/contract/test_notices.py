"""The gateway's own events as CloudEvents, judged by the CloudEvents project's own library."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from gateway.contract.events import source_of
from gateway.contract.notices import (
    AccountDegraded,
    AccountRecovered,
    DegradedData,
    EndpointDisabledData,
    EndpointEnabledData,
    GapData,
    GapDetected,
    Notice,
    RecoveredData,
    encode_notice,
    endpoint_disabled,
    endpoint_enabled,
    headers_of_notice,
)
from gateway.contract.times import utc

NOW = utc(1_700_000_001_234)
COMMON: dict[str, Any] = {"source": source_of(1000), "subject": "1000", "time": NOW}
GAP = GapDetected(
    id="1000-gap-1",
    **COMMON,
    data=GapData(account=1000, observed_at=NOW, not_before=utc(1_000), not_after=utc(2_000), reason="downtime"),
)
DEGRADED = AccountDegraded(
    id="1000-degraded-1",
    **COMMON,
    data=DegradedData(
        account=1000,
        observed_at=NOW,
        listing="completed",
        since=utc(1_000),
        reason="authentication_error",
        http_status=403,
        message="Доступ запрещён",
    ),
)
SILENT = msgspec.structs.replace(DEGRADED, data=msgspec.structs.replace(DEGRADED.data, http_status=None))
RECOVERED = AccountRecovered(
    id="1000-recovered-1", **COMMON, data=RecoveredData(account=1000, observed_at=NOW, since=utc(1_000))
)
DISABLED = endpoint_disabled(EndpointDisabledData(endpoint="crm", observed_at=NOW, reason="gone", since=utc(1_000)))
ENABLED = endpoint_enabled(EndpointEnabledData(endpoint="crm", observed_at=NOW, since=utc(1_000)))
ALL: dict[str, list[Notice]] = {
    "gap.detected": [GAP],
    "account.degraded": [DEGRADED, SILENT],
    "account.recovered": [RECOVERED],
    "endpoint.disabled": [DISABLED],
    "endpoint.enabled": [ENABLED],
}
EACH = [(type_, notice) for type_, notices in ALL.items() for notice in notices]


def says_the_same(theirs: BaseCloudEvent, type_: str, ours: Notice) -> None:
    attributes: dict[str, Any] = dict(theirs.get_attributes())
    assert attributes.pop("time") == ours.time
    assert attributes == {
        "specversion": "1.0",
        "id": ours.id,
        "source": "/ringcloud/endpoints/crm" if type_.startswith("endpoint.") else "/ringcloud/accounts/1000",
        "type": type_,
        "subject": "crm" if type_.startswith("endpoint.") else "1000",
        "datacontenttype": "application/json",
    }
    data = theirs.get_data()
    assert isinstance(data, dict)
    assert msgspec.convert(data, type(ours.data)) == ours.data


@pytest.mark.parametrize(("type_", "notice"), EACH)
def test_the_library_reads_our_kafka_records(type_: str, notice: Notice) -> None:
    message = KafkaMessage(headers=dict(headers_of_notice(notice)), key=None, value=encode_notice(notice))
    says_the_same(from_binary(message, JSONFormat()), type_, notice)


@pytest.mark.parametrize(("type_", "notice"), EACH)
def test_the_library_reads_the_structured_form(type_: str, notice: Notice) -> None:
    says_the_same(JSONFormat().read(None, msgspec.json.encode(notice)), type_, notice)


@pytest.mark.parametrize(("type_", "notice"), EACH)
def test_the_structured_form_is_read_as_it_was_written(type_: str, notice: Notice) -> None:
    assert msgspec.json.decode(msgspec.json.encode(notice), type=Notice) == notice
    assert notice.type == type_


def test_the_headers_are_those_of_cloudevents_binary_mode() -> None:
    assert dict(headers_of_notice(GAP)) == {
        "ce_specversion": b"1.0",
        "ce_id": b"1000-gap-1",
        "ce_source": b"/ringcloud/accounts/1000",
        "ce_type": b"gap.detected",
        "ce_subject": b"1000",
        "ce_time": b"2023-11-14T22:13:21.234000Z",
        "content-type": b"application/json",
    }


def test_every_type_has_headers_of_its_own_type() -> None:
    types = {type_: dict(headers_of_notice(notice))["ce_type"].decode() for type_, notice in EACH}
    assert types == {type_: type_ for type_ in ALL}


def test_times_are_carried_in_utc() -> None:
    data = json.loads(encode_notice(GAP))
    for name in ("not_before", "not_after", "observed_at"):
        assert data[name].endswith("Z")
        assert datetime.fromisoformat(data[name]) == getattr(GAP.data, name)


def test_an_event_of_an_unknown_type_is_none() -> None:
    with pytest.raises(msgspec.ValidationError, match="type"):
        msgspec.json.decode(msgspec.json.encode(GAP).replace(b"gap.detected", b"gap.closed"), type=Notice)
