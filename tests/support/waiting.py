"""Waiting for something to become true, with a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], timeout: float = ..., what: str | None = ..., interval: float = ...
) -> T: ...
@overload
async def eventually(
    condition: Callable[[], T], timeout: float = ..., what: str | None = ..., interval: float = ...
) -> T: ...
async def eventually(
    condition: Callable[[], Any],
    timeout: float = 20.0,
    what: str | None = None,
    interval: float = 0.05,
) -> Any:
    """Call `condition` (plain or async) every `interval` seconds until it returns something true; return that.

    Raises:
        AssertionError: It was still false after `timeout` seconds; says `what` was awaited and what was last returned.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if time.monotonic() >= deadline:
            awaited = what or inspect.getdoc(condition) or getattr(condition, "__name__", repr(condition))
            raise AssertionError(f"not so after {timeout:g} s: {awaited}; last seen: {value!r}")
        await asyncio.sleep(interval)
