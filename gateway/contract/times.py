"""Times as the contract carries them: whole milliseconds inside, RFC 3339 UTC outside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

# Milliseconds since the Unix epoch, UTC. Integers, so that arithmetic on bounds is exact and replays are byte-identical.
Ms = int

UtcTime = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339, UTC")]


def utc(at: Ms) -> datetime:
    """The aware UTC datetime of `at` (milliseconds since the epoch), exact to the millisecond."""
    seconds, millis = divmod(at, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=millis * 1000)


def millis(at: datetime) -> Ms:
    """Milliseconds since the epoch of an aware datetime; what is finer than a millisecond is cut off."""
    whole = at.astimezone(UTC)
    return int(whole.replace(microsecond=0).timestamp()) * 1000 + whole.microsecond // 1000
