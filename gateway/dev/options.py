"""What `ringcloud-gateway dev` can be told."""

from __future__ import annotations

from pathlib import Path

import msgspec


class DevOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`duration` in seconds from the first call on (None: until Ctrl-C); `broker` is embedded, kafka or HOST:PORT."""

    duration: float | None = None
    calls_per_minute: float = 60.0
    accounts: int = 3
    seed: int = 1
    broker: str = "embedded"
    summary: Path | None = None


class DevError(Exception):
    """The demo can't go on; the message says why and, where a part failed, how its log ends."""
