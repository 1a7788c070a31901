"""A call event reduced to ids: the body of webhooks to endpoints that fetch the rest, or must not have it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.contract.events import CallEvent, CallEventType
from gateway.contract.times import UtcTime


class ThinData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which call, and which of its events. No number and no recording is in it, and none will be."""

    account: Annotated[int, msgspec.Meta(description="RingCloud account number")]
    call_id: Annotated[str, msgspec.Meta(description="The gateway's id of the call")]
    sequence: Annotated[int, msgspec.Meta(ge=1, description="Position among the call's events, from 1, never reused")]


class ThinEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent in structured form whose attributes are those of the call event."""

    id: Annotated[str, msgspec.Meta(description="`<call id>-<sequence>`; the same in every delivery")]
    source: Annotated[str, msgspec.Meta(description="`/ringcloud/accounts/<account>`")]
    type: CallEventType
    subject: Annotated[str, msgspec.Meta(description="The call id")]
    time: Annotated[UtcTime, msgspec.Meta(description="Best estimate of when it happened")]
    data: ThinData
    specversion: Literal["1.0"] = "1.0"
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: Annotated[str, msgspec.Meta(description="`data.sequence`, as CloudEvents' sequence extension")] = "1"


def thin(event: CallEvent) -> ThinEvent:
    """`event` with ids alone as its data."""
    return ThinEvent(
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=event.time,
        sequence=event.sequence,
        data=ThinData(account=event.data.account, call_id=event.data.call_id, sequence=event.data.sequence),
    )
