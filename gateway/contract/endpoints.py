"""Webhook endpoints: where events go, and which."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import msgspec

from gateway.contract.events import CallEventType, Direction
from gateway.contract.filters import Expression, Filter, FilterError
from gateway.contract.reach import FileRef, Headers
from gateway.contract.secrets import SigningSecrets
from gateway.contract.times import UtcTime

EndpointId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z0-9_-]{1,64}$(?!\n)",
        description="Part of webhook-id, so without dots (they separate what is signed)",
    ),
]

# `unknown` stands for null: what no completed row has told yet.
WantedDirection = Direction | Literal["unknown"]
WantedDisposition = Literal["ANSWERED", "NO ANSWER", "BUSY", "FAILED", "unknown"]
# What counts as blank is not the same in all regular expressions; so it is spelt out.
WantedNumber = Annotated[str, msgspec.Meta(pattern=r"^(?!\*$)[^\s\x00-\x20\x7f-\xa0" "\ufeff" r"]{1,64}$(?!\n)")]
Body = Literal["full", "thin"]
Rate = Annotated[float, msgspec.Meta(ge=0.01, le=10_000)]
Ordering = Literal["none", "call"]
RetryDelay = Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver of webhooks. It gets what all of its filters match; an empty one matches everything."""

    id: EndpointId
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", description="Where events are POSTed")]
    secrets: SigningSecrets
    events: Annotated[tuple[CallEventType, ...], msgspec.Meta(description="Types of event; empty: all")] = ()
    accounts: Annotated[tuple[int, ...], msgspec.Meta(description="Account numbers; empty: all")] = ()
    directions: Annotated[
        tuple[WantedDirection, ...],
        msgspec.Meta(description="Directions; `unknown` is what is null until a completed row was seen; empty: all"),
    ] = ()
    dispositions: Annotated[
        tuple[WantedDisposition, ...],
        msgspec.Meta(description="Dispositions; `unknown` is what is null until a completed row was seen; empty: all"),
    ] = ()
    numbers: Annotated[
        tuple[WantedNumber, ...],
        msgspec.Meta(
            max_length=10_000,
            description="Of caller or called, as RingCloud gives them: whole, or how they begin and a `*`; empty: all",
        ),
    ] = ()
    filter: Expression = ""
    body: Annotated[
        Body, msgspec.Meta(description="full: the event; thin: its attributes, account, call id and sequence alone")
    ] = "full"
    timeout: Annotated[
        float, msgspec.Meta(gt=0, le=15, description="Seconds for an attempt as a whole, response body included")
    ] = 15.0
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256, description="Attempts under way at once")] = 16
    headers: Headers = {}
    ca: Annotated[
        FileRef | None,
        msgspec.Meta(description="Certificate authorities in PEM, as file:PATH; then no other is trusted"),
    ] = None
    client_certificate: Annotated[
        FileRef | None, msgspec.Meta(description="What the gateway shows of itself, in PEM, as file:PATH")
    ] = None
    client_key: Annotated[
        FileRef | None,
        msgspec.Meta(description="Its private key in PEM, as file:PATH; null where it is in client_certificate"),
    ] = None
    rate: Annotated[Rate | None, msgspec.Meta(description="Attempts a second at most; null: any number")] = None
    ordering: Annotated[
        Ordering,
        msgspec.Meta(description="call: none of a call's events before its earlier ones were delivered or given up"),
    ] = "none"
    retries: Annotated[
        tuple[RetryDelay, ...],
        msgspec.Meta(
            max_length=20,
            description="Seconds between attempts, each as long as the one before or longer; empty: 5 s … 24 h",
        ),
    ] = ()

    def __post_init__(self) -> None:
        """Refuse a filter that is not one and delays that fall, wherever the endpoint comes from."""
        if self.filter:
            try:
                Filter(self.filter)
            except FilterError as error:
                # In this form `fault` finds the field.
                raise ValueError(f"`filter`: {error}") from None
        if any(later < earlier for earlier, later in itertools.pairwise(self.retries)):
            raise ValueError("`retries`: each delay must be as long as the one before or longer")


# asked: by hand. gone: it answered 410. failing: every attempt failed for days.
StatusReason = Literal["asked", "gone", "failing"]


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an endpoint stands, beside its declaration: whether it is delivered to, and since when all attempts fail."""

    state: Annotated[
        Literal["active", "paused", "disabled"],
        msgspec.Meta(
            description="active: delivered to; paused: its deliveries wait; disabled: they become dead letters, from "
            "which they can be replayed"
        ),
    ]
    since: Annotated[UtcTime, msgspec.Meta(description="When it came into this state")]
    reason: Annotated[
        StatusReason | None, msgspec.Meta(description="Of paused and disabled: asked (by hand), gone (410) or failing")
    ] = None
    failing_since: Annotated[
        UtcTime | None,
        msgspec.Meta(description="Of the first of the failures without a success since; null: it is well"),
    ] = None
