"""Call events: CloudEvents 1.0, binary mode on Kafka, structured JSON as a webhook's body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Protocol

import msgspec

from gateway.contract.times import UtcTime

Header = tuple[str, bytes]

CallEventType = Literal["call.started", "call.answered", "call.ended", "call.updated"]
CALL_EVENT_TYPES: tuple[CallEventType, ...] = ("call.started", "call.answered", "call.ended", "call.updated")

Direction = Literal["incoming", "outgoing", "internal"]


class Evidence(StrEnum):
    """How the gateway knows what an event says."""

    ACTIVE = "active"  # the call was in the list of active calls
    STATUS = "status"  # a live row's status said so
    CHANNELS = "channels"  # the call's channels said so
    COMPLETE = "complete"  # a row of the list of completed calls said so
    ABSENCE = "absence"  # gone from the active list, and no completed row within the grace period


class CallData(msgspec.Struct, frozen=True, kw_only=True):
    """What a call event says. Times are UTC; the true time of what happened lies within `not_before` … `not_after`."""

    account: Annotated[int, msgspec.Meta(description="RingCloud account number")]
    call_id: Annotated[str, msgspec.Meta(description="The gateway's id of the call; RingCloud has none")]
    sequence: Annotated[int, msgspec.Meta(ge=1, description="Position among the call's events, from 1, never reused")]
    src: Annotated[str, msgspec.Meta(description="Caller, as RingCloud gives it")]
    dst: Annotated[str, msgspec.Meta(description="Called number, as RingCloud gives it")]
    direction: Annotated[Direction | None, msgspec.Meta(description="Known once a completed row was seen")]
    not_before: Annotated[UtcTime, msgspec.Meta(description="It happened no earlier than this")]
    not_after: Annotated[UtcTime, msgspec.Meta(description="It happened no later than this")]
    observed_at: Annotated[UtcTime, msgspec.Meta(description="When the gateway had the answer that showed it")]
    evidence: Annotated[Evidence, msgspec.Meta(description="How it is known")]
    ambiguous: Annotated[bool, msgspec.Meta(description="Another call of the account could not be told from this one")]
    answered: Annotated[bool | None, msgspec.Meta(description="Whether the call was answered; null while not known")]
    disposition: Annotated[str | None, msgspec.Meta(description="ANSWERED, NO ANSWER, BUSY or FAILED")] = None
    duration: Annotated[int | None, msgspec.Meta(description="Seconds, dialling and talking together")] = None
    rec_file: Annotated[str | None, msgspec.Meta(description="Path of the recording at RingCloud")] = None
    changed: Annotated[tuple[str, ...], msgspec.Meta(description="Of call.updated: the fields that changed")] = ()
    dialled_by: Annotated[
        UtcTime | None,
        msgspec.Meta(
            description="The called side was being dialled by then, as channels showed: on a call that RingCloud was "
            "asked to make, the user rung first had answered"
        ),
    ] = None
    command_id: Annotated[
        str | None,
        msgspec.Meta(description="Of call.started: the `call.originate` that started the call, where one did"),
    ] = None


class CallEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent in structured form: the body of a webhook."""

    id: Annotated[str, msgspec.Meta(description="`<call id>-<sequence>`; the same in every delivery")]
    source: Annotated[str, msgspec.Meta(description="`/ringcloud/accounts/<account>`")]
    type: CallEventType
    subject: Annotated[str, msgspec.Meta(description="The call id")]
    time: Annotated[UtcTime, msgspec.Meta(description="Best estimate of when it happened")]
    data: CallData
    specversion: Literal["1.0"] = "1.0"
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: Annotated[str, msgspec.Meta(description="`data.sequence`, as CloudEvents' sequence extension")] = "1"


def source_of(account: int) -> str:
    """The CloudEvents source of an account's events."""
    return f"/ringcloud/accounts/{account}"


class Attributes(Protocol):
    """What every CloudEvent of the gateway has."""

    @property
    def specversion(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def datacontenttype(self) -> str: ...


def attribute_headers(event: Attributes) -> list[Header]:
    """An event's attributes as Kafka headers, in CloudEvents binary mode."""
    return [
        ("ce_specversion", event.specversion.encode()),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.type.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", _json(event.time).strip(b'"')),
        ("content-type", event.datacontenttype.encode()),
    ]


def headers_of(event: CallEvent) -> list[Header]:
    """The Kafka headers of `event` in CloudEvents binary mode; its value is `encode_data(event)`."""
    return [*attribute_headers(event), ("ce_sequence", event.sequence.encode())]


def encode_data(event: CallEvent) -> bytes:
    """The Kafka value of `event`: its data as JSON."""
    return _json(event.data)


class ContractError(ValueError):
    """A record that is not what the contract says; the message names the header or field."""


def decode_event(headers: list[Header], value: bytes | None) -> CallEvent:
    """The call event in a Kafka record.

    Raises ContractError when a header is missing or wrong, or the value is not a call event's data.
    """
    given: dict[str, bytes | None] = dict(headers)
    attributes = {name: _text(given, f"ce_{name}") for name in _ATTRIBUTES}
    try:
        data = _decode_data(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"data: {error}") from None
    try:
        return msgspec.convert({**attributes, "data": data}, CallEvent)
    except msgspec.ValidationError as error:
        raise ContractError(str(error).replace("`$.", "`ce_")) from None


def _text(given: Mapping[str, bytes | None], header: str) -> str:
    raw = given.get(header)  # Kafka's headers may be null
    if raw is None:
        raise ContractError(f"header {header} is missing")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ContractError(f"header {header} is not UTF-8: {error.reason}") from None


_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "sequence")
_json = msgspec.json.Encoder().encode
_decode_data = msgspec.json.Decoder(CallData).decode
