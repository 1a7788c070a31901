"""Clients for tests, with secrets that are easy to look for and clocks that make nobody wait."""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import Callable

import pytest

from gateway.ringcloud import (
    Limiter,
    RingCloud,
    RingCloudError,
)
from gateway.ringcloud.clock import Timer
from tests.unit.ringcloud.scripted_server import Script

KEY, PASSWORD = "1000_s3cr3tk3y", "p4ssw0rd/&+é"


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


HASH = md5(KEY + PASSWORD)
SECRETS = (KEY, PASSWORD, HASH)
ROW = {"src": "400", "dst": "401", "seconds": 3, "status": "current"}


class NoClock:
    """A clock at which every lane is always free: what is tested here is not the limiter."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        self.time += 1000.0
        return self.time

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        raise AssertionError("nobody waits")

    async def sleep_until(self, when: float) -> None:
        raise AssertionError("nobody sleeps")


class StoppedClock(NoClock):
    """A clock that stands still."""

    def now(self) -> float:
        return 100.0

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(3600, call)


def client(script: Script | str, **settings: object) -> RingCloud:
    url = script if isinstance(script, str) else script.url
    return RingCloud(KEY, PASSWORD, base_url=url, **{"limiter": Limiter(NoClock()), "read_retries": 0, **settings})  # type: ignore[arg-type]


def no_secret(error: BaseException) -> None:
    """Nothing that anybody could print of an error holds a secret, what it came from included."""
    whole = [
        str(error),
        repr(error),
        repr(vars(error)),
        "".join(traceback.format_exception(error)),
        repr(error.__cause__),
        repr(error.__context__),
    ]
    for secret in SECRETS:
        assert not any(secret in text for text in whole)


async def failure(script: Script | str, kind: type[RingCloudError], **settings: object) -> RingCloudError:
    async with client(script, **settings) as api:
        with pytest.raises(kind) as raised:
            await api.active_calls()
    no_secret(raised.value)
    assert type(raised.value) is kind
    assert raised.value.url == f"{script if isinstance(script, str) else script.url}/v1/calls/active"
    return raised.value
