"""Webhook deliveries on their way: what to deliver, every attempt, and what was given up."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.contract.events import CallEventType
from gateway.contract.times import UtcTime

# Seconds between attempts. Each delay has a topic of its own, so that a topic's records fall due in order.
RETRY_DELAYS: tuple[int, ...] = (5, 30, 120, 600, 1800, 7200, 21600, 43200, 86400)

Outcome = Literal["delivered", "refused", "failed", "timeout", "unreachable", "blocked"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one endpoint. Made by the fan-out; carried on through the retry topics with its attempts counted."""

    id: Annotated[str, msgspec.Meta(description="`<event id>-<endpoint>`: the webhook-id of every attempt")]
    endpoint: str
    event_type: CallEventType
    account: int
    call_id: str
    event: Annotated[msgspec.Raw, msgspec.Meta(description="The CloudEvent, structured: the body, byte for byte")]
    created_at: UtcTime
    attempts: Annotated[int, msgspec.Meta(ge=0, description="Attempts made so far")] = 0
    due_at: Annotated[UtcTime | None, msgspec.Meta(description="Not attempted before this; null: at once")] = None


Seconds = Annotated[float, msgspec.Meta(ge=0)] | None


class Phases(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt's time went, in seconds; null is what it did not come to, or an open connection spared it."""

    resolve: Annotated[Seconds, msgspec.Meta(description="The host's name")] = None
    connect: Annotated[Seconds, msgspec.Meta(description="The connection; the tunnel too, where there is a proxy")] = (
        None
    )
    tls: Annotated[Seconds, msgspec.Meta(description="The TLS handshake")] = None
    send: Annotated[Seconds, msgspec.Meta(description="Handing over the request")] = None
    wait: Annotated[Seconds, msgspec.Meta(description="Until the answer's status and headers were there")] = None
    body: Annotated[Seconds, msgspec.Meta(description="The answer's body, as far as it was read")] = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt and what came of it."""

    delivery: str
    endpoint: str
    number: Annotated[int, msgspec.Meta(ge=1)]
    at: UtcTime
    duration: Annotated[float, msgspec.Meta(description="Seconds, response body included")]
    outcome: Annotated[
        Outcome,
        msgspec.Meta(
            description="delivered: 2xx; refused: any other answer, redirects included; timeout; "
            "unreachable: no connection or it broke; blocked: the address is not allowed; failed: could not be sent"
        ),
    ]
    status: Annotated[int | None, msgspec.Meta(description="HTTP status, where there was an answer")] = None
    error: Annotated[str | None, msgspec.Meta(description="What went wrong, in words; no secret in it")] = None
    response_headers: Annotated[
        dict[str, str] | None,
        msgspec.Meta(
            description="Of the answer, in lower case: 32 of 256 characters at most, without those that carry secrets"
        ),
    ] = None
    response_body: Annotated[
        str | None,
        msgspec.Meta(
            description="The first KiB of the answer's body as UTF-8; what the gateway keeps secret is redacted"
        ),
    ] = None
    phases: Phases = Phases()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was given up, with why. `raw` holds a record that could not be read as a delivery."""

    at: UtcTime
    reason: str
    delivery: Delivery | None = None
    raw: bytes | None = None


def delivery_id(event_id: str, endpoint: str) -> str:
    """The delivery's id: the same however often the event is expanded, and without a dot (dots separate what is signed)."""
    return f"{event_id}-{endpoint}"
