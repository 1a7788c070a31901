"""Webhook endpoints: where events go, and which."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.contract.events import CallEventType
from gateway.contract.secrets import SigningSecrets

EndpointId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z0-9_-]{1,64}$(?!\n)",
        description="Part of webhook-id, so without dots (they separate what is signed)",
    ),
]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver of webhooks. An empty filter matches everything."""

    id: EndpointId
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", description="Where events are POSTed")]
    secrets: SigningSecrets
    events: Annotated[tuple[CallEventType, ...], msgspec.Meta(description="Types of event; empty: all")] = ()
    accounts: Annotated[tuple[int, ...], msgspec.Meta(description="Account numbers; empty: all")] = ()
    timeout: Annotated[
        float, msgspec.Meta(gt=0, le=15, description="Seconds for an attempt as a whole, response body included")
    ] = 15.0
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256, description="Attempts under way at once")] = 16

    def matches(self, event_type: CallEventType, account: int) -> bool:
        """Whether an event of this type and account goes to this endpoint."""
        return (not self.events or event_type in self.events) and (not self.accounts or account in self.accounts)
