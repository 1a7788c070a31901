"""Keeps aiokafka from asking a broker without a pause that answers "nothing yet" at once instead of waiting."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from aiokafka.consumer.fetcher import Fetcher

# The embedded broker knows no fetch.max.wait: a consumer with nothing to read would ask it thousands of times a second
# and use a whole core. A broker that does wait is never met here. Where there was nothing for long a record waits
# longer: to ask for 64 partitions a hundred times a second is a tenth of a core.
_LEAST_PAUSE, _MOST_PAUSE = 0.01, 0.05
_PART_OF_SILENCE = 0.05

_fetch = Fetcher._proc_fetch_request  # noqa: SLF001 - aiokafka has no other place for it
_heard_at: WeakKeyDictionary[Fetcher, float] = WeakKeyDictionary()


async def _fetch_and_pause(self: Any, *request: Any) -> bool:
    asked = monotonic()
    something: bool = await _fetch(self, *request)
    answered = monotonic()
    if something:
        _heard_at[self] = answered
    elif answered - asked < _LEAST_PAUSE:
        silent = answered - _heard_at.setdefault(self, asked)
        # Cancelled, it ends as aiokafka's own does: the fetcher awaits it and expects no error.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(min(max(_LEAST_PAUSE, silent * _PART_OF_SILENCE), _MOST_PAUSE))
    return something


def mend_fetching() -> None:
    """Mend every consumer that aiokafka makes in this process. May be called again."""
    Fetcher._proc_fetch_request = _fetch_and_pause  # noqa: SLF001
