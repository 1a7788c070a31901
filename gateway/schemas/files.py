"""The files that `ringcloud-gateway schemas DIR` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gateway.config import AccountConfig
from gateway.contract import commands, deliveries, endpoints, events, notices, thin
from gateway.schemas.asyncapi import asyncapi
from gateway.schemas.structs import Schema, document

# file -> the type, its title, and whether the gateway writes it
_SCHEMAS: dict[str, tuple[Any, str, bool]] = {
    "call-event": (events.CallEvent, "A call event as a structured CloudEvent: the body of a webhook", True),
    "thin-call-event": (thin.ThinEvent, "A call event reduced to ids: the body of a webhook that is to be thin", True),
    "call-data": (events.CallData, "A call event's data: the value of a record on the calls topic", True),
    "gateway-event": (notices.Notice, "An event about the gateway itself as a structured CloudEvent", True),
    "gap-data": (notices.GapData, "Data of gap.detected: the value of a record on the gateway topic", True),
    "degraded-data": (
        notices.DegradedData,
        "Data of account.degraded: the value of a record on the gateway topic",
        True,
    ),
    "recovered-data": (
        notices.RecoveredData,
        "Data of account.recovered: the value of a record on the gateway topic",
        True,
    ),
    "endpoint-disabled-data": (
        notices.EndpointDisabledData,
        "Data of endpoint.disabled: the value of a record on the gateway topic",
        True,
    ),
    "endpoint-enabled-data": (
        notices.EndpointEnabledData,
        "Data of endpoint.enabled: the value of a record on the gateway topic",
        True,
    ),
    "account": (AccountConfig, "The value of a record on the accounts topic; null withdraws the account", False),
    "endpoint": (
        endpoints.Endpoint,
        "The value of a record on the endpoints topic; null withdraws the endpoint",
        False,
    ),
    "command": (commands.Command, "The value of a record on the commands topic", False),
    "command-result": (commands.CommandResult, "The value of a record on the command results topic", True),
    "command-dead-letter": (
        commands.CommandDeadLetter,
        "The value of a record on the command dead letters topic",
        True,
    ),
    "delivery": (deliveries.Delivery, "The value of a record on the webhook deliveries and retries topics", True),
    "attempt": (deliveries.Attempt, "The value of a record on the webhook attempts topic", True),
    "dead-letter": (deliveries.DeadLetter, "The value of a record on the webhook dead letters topic", True),
}


def documents() -> dict[str, Schema]:
    """Every document by its file's name."""
    schemas = {
        f"{name}.json": document(type_, title, written=written) for name, (type_, title, written) in _SCHEMAS.items()
    }
    return {**schemas, "asyncapi.json": asyncapi()}


def write(directory: Path) -> list[Path]:
    """Write every document into `directory`, which is made if need be; returns the files. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in documents().items():
        path = directory / name
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        written.append(path)
    return written
