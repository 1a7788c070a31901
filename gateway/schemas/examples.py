"""An example or more of every message, encoded as the gateway encodes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from gateway.config import AccountConfig, KeyConfig
from gateway.contract.commands import (
    Command,
    CommandDeadLetter,
    CommandResult,
    CreateUser,
    Originate,
    UpdateEmail,
    UpdateExtensionNumber,
    UpdatePassword,
    VoiceMailBoxOff,
    VoiceMailBoxOn,
    type_of,
)
from gateway.contract.deliveries import Attempt, DeadLetter, Delivery, delivery_id
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent, Header, encode_data, headers_of
from gateway.contract.notices import Notice, encode_notice, headers_of_notice
from gateway.contract.thin import thin
from gateway.schemas import stories

Example = dict[str, Any]


def call_events() -> list[CallEvent]:
    """Those of both stories of a call."""
    return [*stories.a_call(), *stories.a_call_without_a_row()]


def notices() -> list[Notice]:
    """One of each type."""
    return [*stories.a_long_downtime(), *stories.an_outage(), *stories.an_endpoint_that_was_gone()]


def kafka_events() -> Mapping[str, Sequence[Example]]:
    """Examples of Kafka records of events, headers and payload, by the events' type."""
    records: dict[str, list[Example]] = defaultdict(list)
    for event in call_events():
        summary = f"Evidence: {event.data.evidence.value}"
        records[event.type].append(_record(summary, headers_of(event), encode_data(event)))
    for notice in notices():
        records[notice.type].append(_record(notice.type, headers_of_notice(notice), encode_notice(notice)))
    return records


def webhooks() -> Sequence[Example]:
    """Bodies of webhooks: the events of a call's whole life, and the last one thin."""
    events = stories.a_call()
    return [*(payload(event.type, event) for event in events), payload(f"{events[-1].type}, thin", thin(events[-1]))]


# Sealed for nobody: the shape is what matters.
_SEALED = "sealed:cGxlYXNlIHNlYWwgaXQ="


def commands() -> Mapping[str, Sequence[Example]]:
    """Examples of commands by their type."""
    common: dict[str, Any] = {"account": stories.ACCOUNT}
    told: dict[str, Command] = {
        "Rings 400, and dials when that one answers": _originate(),
        "The result tells the new user's name": CreateUser(
            id="hire-17", num="450", mail="anna@example.com", password=_SEALED, **common
        ),
        "The password may be sealed": UpdatePassword(id="rotate-17", user="450", password=_SEALED, **common),
        "Unique in the account": UpdateExtensionNumber(id="move-17", user="450", num="451", **common),
        "Two changes of one user's address run 5 s apart": UpdateEmail(
            id="mail-17", user="450", mail="anna.k@example.com", **common
        ),
        "On": VoiceMailBoxOn(id="away-17", user="450", **common),
        "Off": VoiceMailBoxOff(id="back-17", user="450", **common),
    }
    return {type_of(command): [payload(summary, command)] for summary, command in told.items()}


def command_results() -> Sequence[Example]:
    """A command that had to wait, each step, and that its call was seen."""
    command, at = _originate(), stories.a_call()[0].time
    steps: list[dict[str, Any]] = [
        {"status": "accepted"},
        {"status": "delayed", "until": at + timedelta(seconds=5)},
        {"status": "succeeded", "at": at + timedelta(seconds=5), "http_status": 200},
        {"status": "observed", "at": at + timedelta(seconds=8), "call_id": stories.a_call()[0].subject},
    ]
    common = {"command_id": command.id, "account": command.account, "type": "call.originate", "at": at}
    results = [CommandResult(**{**common, **step, "sequence": n}) for n, step in enumerate(steps, 1)]
    return [payload(result.status, result) for result in results]


def command_dead_letters() -> Sequence[Example]:
    """What is told of a record that is no JSON."""
    letter = CommandDeadLetter(
        at=stories.a_call()[0].time,
        topic="ringcloud.commands.v1",
        partition=17,
        offset=4711,
        size=7,
        message="not JSON: JSON is malformed: invalid character (byte 0)",
    )
    return [payload("No JSON", letter)]


def accounts() -> Sequence[Example]:
    """An account with two keys."""
    keys = tuple(
        KeyConfig(key=f"env:RINGCLOUD_{name}_KEY", password=f"env:RINGCLOUD_{name}_PASSWORD")
        for name in ("FIRST", "SECOND")
    )
    return [payload("Polled with two keys in turn", AccountConfig(id=stories.ACCOUNT, keys=keys))]


def endpoints() -> Sequence[Example]:
    """An endpoint that wants some events, without numbers in them."""
    endpoint = Endpoint(
        id=stories.ENDPOINT,
        url="https://crm.example.com/hooks/ringcloud",
        secrets=("env:CRM_WEBHOOK_SECRET",),
        events=("call.ended",),
        numbers=("7495*",),
        filter="data.duration > `60`",
        body="thin",
    )
    return [payload("Ids of what took longer than a minute", endpoint)]


def deliveries() -> Sequence[Example]:
    """A delivery as the fan-out makes it."""
    return [payload("Not attempted yet", _delivery())]


def retries() -> Sequence[Example]:
    """The same delivery, to be attempted once more."""
    return [payload("Failed once", _failed())]


def attempts() -> Sequence[Example]:
    """The attempt that failed."""
    delivery = _delivery()
    attempt = Attempt(
        delivery=delivery.id,
        endpoint=delivery.endpoint,
        number=1,
        at=delivery.created_at,
        duration=0.184,
        outcome="refused",
        status=503,
    )
    return [payload("Refused", attempt)]


def dead_letters() -> Sequence[Example]:
    """The delivery, given up."""
    letter = DeadLetter(at=_delivery().created_at, reason="410 Gone", delivery=_failed())
    return [payload("Given up", letter)]


def payload(summary: str, message: msgspec.Struct) -> Example:
    """An example that is all value."""
    return {"summary": summary, "payload": msgspec.json.decode(msgspec.json.encode(message))}


def _originate() -> Originate:
    return Originate(id="order-4711", account=stories.ACCOUNT, user="400", num="74951234567")


def _delivery() -> Delivery:
    event = stories.a_call()[2]
    return Delivery(
        id=delivery_id(event.id, stories.ENDPOINT),
        endpoint=stories.ENDPOINT,
        event_type=event.type,
        account=event.data.account,
        call_id=event.data.call_id,
        event=msgspec.Raw(msgspec.json.encode(event)),
        created_at=event.data.observed_at,
    )


def _failed() -> Delivery:
    delivery = _delivery()
    return msgspec.structs.replace(delivery, attempts=1, due_at=delivery.created_at + timedelta(seconds=5))


def _record(summary: str, headers: Sequence[Header], value: bytes) -> Example:
    return {
        "summary": summary,
        "headers": {name: raw.decode() for name, raw in headers},
        "payload": msgspec.json.decode(value),
    }
