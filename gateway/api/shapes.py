"""What the API takes and answers, as structs from which its description is made as well."""

from __future__ import annotations

import functools
import operator
import typing
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec

from gateway.contract.commands import Account, Command, CommandId, CommandResult, CommandStatus
from gateway.contract.deliveries import Attempt, Outcome
from gateway.contract.endpoints import Endpoint, EndpointId, StatusReason
from gateway.contract.events import CallEventType
from gateway.contract.secrets import DEFAULT_OVERLAP, MAX_OVERLAP, SecretRef, SigningSecrets
from gateway.contract.times import UtcTime

Limit = Annotated[int, msgspec.Meta(ge=1, le=200, description="Items of the page at most")]
Cursor = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,32768}$(?!\n)", description="`next` of the page before")
]
Next = Annotated[
    str | None,
    msgspec.Meta(description="Give it as `cursor` for what follows; null at the end. A page may be short, or empty"),
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Since = Annotated[UtcTime, msgspec.Meta(description="Nothing that was written before; RFC 3339")]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


# Endpoints.


class NewEndpoint(Endpoint, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An endpoint to declare. Without `secrets` the gateway makes one, which the answer shows this once."""

    secrets: SigningSecrets = ()
    start_from: Annotated[
        UtcTime | None,
        msgspec.Meta(
            description="Send the matching events from this time on as well, as far as they are kept (7 days)"
        ),
    ] = None


def _patch_of(kind: type[Endpoint]) -> Any:
    """Every field of an endpoint but its id, each of which may be left out; null puts its default back."""
    fields: list[tuple[str, Any, Any]] = []
    for one in msgspec.structs.fields(kind):
        if one.name == "id":
            continue
        if one.name == "headers":
            meta = msgspec.Meta(max_length=32, description="Headers to set; null takes one away")
            given: Any = Annotated[dict[str, str | None], meta]
        else:
            given = one.type
        fields.append((one.name, (given if one.required else given | None) | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(
        "EndpointPatch", fields, frozen=True, kw_only=True, forbid_unknown_fields=True, module=__name__
    )


EndpointPatch: Any = _patch_of(Endpoint)


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, and how it stands."""

    id: EndpointId
    source: Annotated[
        Literal["file", "topic"],
        msgspec.Meta(description="file: the configuration's, only its state can be changed here; topic: declared here"),
    ]
    state: Annotated[
        Literal["active", "paused", "disabled"],
        msgspec.Meta(
            description="active: delivered to; paused: its deliveries wait; disabled: they become dead letters"
        ),
    ]
    since: Annotated[UtcTime | None, msgspec.Meta(description="When it came into this state; null: from its start")]
    reason: Annotated[
        StatusReason | None, msgspec.Meta(description="Of paused and disabled: asked (by hand), gone (410) or failing")
    ]
    failing_since: Annotated[
        UtcTime | None, msgspec.Meta(description="Of the first of the failures without a success since")
    ]
    endpoint: Annotated[
        Endpoint,
        msgspec.Meta(
            description="Its declaration, as PUT takes it. `sealed:` secrets are shown by a fingerprint, and what may be "
            "secret in a URL or a header as ***"
        ),
    ]


class EndpointCreated(EndpointView, frozen=True, kw_only=True):
    """An endpoint that was declared."""

    secret: Annotated[
        str | None, msgspec.Meta(description="The signing secret that was made; it is never shown again")
    ] = None
    replay: Annotated[str | None, msgspec.Meta(description="The replay that `start_from` has begun")] = None


class EndpointPage(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints by their ids."""

    items: list[EndpointView]
    next: Next


class Rotation(_Strict, frozen=True, kw_only=True):
    """A new signing secret, and how long the old ones go on to sign."""

    secret: Annotated[
        SecretRef | None, msgspec.Meta(description="env:NAME or file:PATH; without it the gateway makes one")
    ] = None
    overlap: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=int(MAX_OVERLAP / timedelta(seconds=1)),
            description="Seconds for which the old ones sign beside it; 0: not at all",
        ),
    ] = int(DEFAULT_OVERLAP / timedelta(seconds=1))


class TestDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A test delivery that is on its way."""

    delivery: Annotated[str, msgspec.Meta(description="Its id: the webhook-id")]
    follow: Annotated[str, msgspec.Meta(description="Where to see what becomes of it")]


class PageQuery(_Strict, frozen=True, kw_only=True):
    """Which page."""

    limit: Limit = 50
    cursor: Cursor | None = None


# Attempts, deliveries, dead letters.


class EndpointAttemptsQuery(PageQuery, frozen=True, kw_only=True):
    """Which attempts at an endpoint."""

    event: Annotated[Name | None, msgspec.Meta(description="Of this event, by its id")] = None
    call: Annotated[Name | None, msgspec.Meta(description="Of this call's events")] = None
    outcome: Annotated[Outcome | None, msgspec.Meta(description="With this outcome")] = None
    since: Since | None = None


class AttemptsQuery(EndpointAttemptsQuery, frozen=True, kw_only=True):
    """Which attempts."""

    endpoint: Annotated[EndpointId | None, msgspec.Meta(description="At this endpoint")] = None


class AttemptPage(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts, newest first."""

    items: list[Attempt]
    next: Next


class DeadLettersQuery(PageQuery, frozen=True, kw_only=True):
    """Which dead letters."""

    endpoint: Annotated[EndpointId | None, msgspec.Meta(description="Of this endpoint")] = None
    reason: Annotated[Name | None, msgspec.Meta(description="Whose reason contains this")] = None
    since: Since | None = None


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was given up, without its body; of a record that was no delivery only when and why."""

    at: Annotated[UtcTime, msgspec.Meta(description="When it was given up")]
    reason: str
    delivery: Annotated[str | None, msgspec.Meta(description="Its id")]
    endpoint: str | None
    event_type: CallEventType | None
    account: int | None
    call_id: str | None
    attempts: Annotated[int | None, msgspec.Meta(description="How many were made")]


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters, newest first."""

    items: list[DeadLetterView]
    next: Next


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery and what became of it."""

    id: Annotated[str, msgspec.Meta(description="The webhook-id of every attempt")]
    endpoint: str
    state: Annotated[
        Literal["pending", "delivered", "given_up"],
        msgspec.Meta(description="pending: it waits for its first attempt or for the next"),
    ]
    attempts: Annotated[list[Attempt], msgspec.Meta(description="Newest first, 200 at most")]
    given_up: Annotated[DeadLetterView | None, msgspec.Meta(description="Its newest dead letter, where there is one")]
    event: Annotated[
        msgspec.Raw | None, msgspec.Meta(description="The body that is sent; null where only attempts are kept of it")
    ]


# Replays.

PerSecond = Annotated[float, msgspec.Meta(ge=0.1, le=10_000, description="Deliveries a second at most")]
DEFAULT_RATE = 50.0
Partition = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}$(?!\n)")]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Offsets = Annotated[dict[Partition, Offset], msgspec.Meta(min_length=1, max_length=1024)]


class _Replay(_Strict, frozen=True, kw_only=True, tag_field="kind"):
    rate: PerSecond = DEFAULT_RATE


class ReplayDelivery(_Replay, frozen=True, kw_only=True, tag="delivery"):
    """One delivery again."""

    delivery: Annotated[Name, msgspec.Meta(description="Its id")]


class ReplayDeadLetters(_Replay, frozen=True, kw_only=True, tag="dead_letters"):
    """All dead letters of an endpoint, once each."""

    endpoint: EndpointId
    reason: Annotated[Name | None, msgspec.Meta(description="Whose reason contains this")] = None
    since: Annotated[UtcTime | None, msgspec.Meta(description="Given up at this time or later")] = None
    until: Annotated[UtcTime | None, msgspec.Meta(description="Given up before this time")] = None


class ReplayEvents(_Replay, frozen=True, kw_only=True, tag="events"):
    """All call events from a time or from offsets on that the endpoint's filters match now."""

    endpoint: EndpointId
    since: Annotated[UtcTime | None, msgspec.Meta(description="Written to the calls topic at this time or later")] = (
        None
    )
    offsets: Annotated[
        Offsets | None,
        msgspec.Meta(
            description="In place of since: by partition of the calls topic, where to begin; no other partition is read"
        ),
    ] = None
    until: Annotated[UtcTime | None, msgspec.Meta(description="Written before this time; null: until now")] = None
    events: Annotated[tuple[CallEventType, ...], msgspec.Meta(description="Of these types only; empty: all")] = ()
    accounts: Annotated[
        tuple[int, ...], msgspec.Meta(max_length=10_000, description="Of these accounts only; empty: all")
    ] = ()

    def __post_init__(self) -> None:
        """Refuse a replay that does not say where it begins."""
        if (self.since is None) == (self.offsets is None):
            raise ValueError("`since`: either this or offsets must be given")


ReplayAsked = ReplayDelivery | ReplayDeadLetters | ReplayEvents


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """A replay and how far it is. `done` of `total` records of the topic were looked at."""

    id: str
    asked: ReplayAsked
    endpoint: str
    by: Annotated[str, msgspec.Meta(description="The name of the token that asked for it")]
    state: Literal["running", "done", "cancelled", "failed"]
    started_at: UtcTime
    ended_at: UtcTime | None
    done: Annotated[int, msgspec.Meta(ge=0, description="Records looked at")]
    total: Annotated[int | None, msgspec.Meta(description="Records to look at, as an estimate; null: not known yet")]
    resent: Annotated[int, msgspec.Meta(ge=0, description="Deliveries written again, to be attempted")]
    skipped: Annotated[int, msgspec.Meta(ge=0, description="Records that are no delivery, or too large for one")]
    reached: Annotated[UtcTime | None, msgspec.Meta(description="When the last record that was looked at was written")]
    error: Annotated[str | None, msgspec.Meta(description="Why it failed")]


class ReplayPage(msgspec.Struct, frozen=True, kw_only=True):
    """Replays, newest first."""

    items: list[ReplayView]
    next: Next


# Commands.


def _without_id(kind: Any) -> Any:
    """A command whose id may be left out."""
    fields: list[tuple[str, Any, Any]] = [
        (one.name, CommandId | None, None) if one.name == "id" else (one.name, one.type, one.default)
        for one in msgspec.structs.fields(kind)
    ]
    made = msgspec.defstruct(
        f"Asked{kind.__name__}",
        [one[:2] if one[2] is msgspec.NODEFAULT else one for one in fields],
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field="type",
        tag=kind.__struct_config__.tag,
        module=__name__,
    )
    made.__doc__ = kind.__doc__
    return made


AskedCommand: Any = functools.reduce(operator.or_, (_without_id(kind) for kind in typing.get_args(Command)))

Wait = Annotated[
    int,
    msgspec.Meta(ge=1, le=60, description="Seconds to wait for the outcome; what is answered then is as far as it is"),
]


class IdempotencyHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """What makes it safe to ask again."""

    key: Annotated[
        Annotated[str, msgspec.Meta(pattern=r'^([A-Za-z0-9_:-]{1,128}|"[A-Za-z0-9_:-]{1,128}")$(?!\n)')] | None,
        msgspec.Meta(
            description="The command's id, quoted or not: asked again with it the same command is executed once. Without "
            "it, and without an `id` in the body, the gateway makes one"
        ),
    ] = msgspec.field(name="Idempotency-Key", default=None)


class SendQuery(_Strict, frozen=True, kw_only=True):
    """Whether to wait."""

    wait: Wait | None = None


class CommandQuery(SendQuery, frozen=True, kw_only=True):
    """Which account's command, and whether to wait."""

    account: Annotated[
        Account | None,
        msgspec.Meta(description="Whose command: found sooner by it. Without it, of whoever used the id last"),
    ] = None


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """A command and what became of it so far."""

    id: CommandId
    account: Account
    type: Annotated[str | None, msgspec.Meta(description="Null where it was rejected before that could be read")]
    status: Annotated[
        CommandStatus | Literal["sent"],
        msgspec.Meta(description="Of its last result; sent: it is on the topic, and was not taken over yet"),
    ]
    done: Annotated[
        bool,
        msgspec.Meta(description="Whether the outcome is known; what may follow tells of an originate's call"),
    ]
    results: Annotated[list[CommandResult], msgspec.Meta(description="Each step, in order")]
