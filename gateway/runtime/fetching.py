"""Keeps aiokafka from asking a broker without a pause that answers "nothing yet" at once instead of waiting."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any

from aiokafka.consumer.fetcher import Fetcher

# The embedded broker knows no fetch.max.wait: a consumer with nothing to read would ask it thousands of times a second
# and use a whole core. A broker that does wait is never met here, and a record waits half of this at most on average.
_PAUSE_SECONDS = 0.01

_fetch = Fetcher._proc_fetch_request  # noqa: SLF001 - aiokafka has no other place for it


async def _fetch_and_pause(self: Any, *request: Any) -> bool:
    asked = monotonic()
    something: bool = await _fetch(self, *request)
    if not something and monotonic() - asked < _PAUSE_SECONDS:
        # Cancelled, it ends as aiokafka's own does: the fetcher awaits it and expects no error.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(_PAUSE_SECONDS)
    return something


def mend_fetching() -> None:
    """Mend every consumer that aiokafka makes in this process. May be called again."""
    Fetcher._proc_fetch_request = _fetch_and_pause  # noqa: SLF001
