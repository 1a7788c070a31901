"""The client against the sandbox, which is another party's reading of the same API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.ringcloud import AuthenticationError, BadParameters, Http, Limiter, NotFound, RingCloud
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings

KEY = KeySpec("1000_demo", "demo-password")


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    settings = SandboxSettings(
        keys=[KEY, KeySpec("1001_demo", "other")], calls_per_minute=2000, complete_urls="complete"
    )
    async with SandboxServer(settings) as server:
        yield server


async def test_every_coroutine_understands_the_sandbox(sandbox: SandboxServer) -> None:
    async with RingCloud(KEY.key, KEY.password, base_url=sandbox.url) as api:
        users = await api.users()
        assert await api.user(users[0].user) in users
        assert await api.originate(users[0].user, "74950001122") is None
        assert any((row.src, row.dst) == (users[0].user, "74950001122") for row in await api.active_calls())
        assert await api.completed_calls(days=1) is not None
        while not (names := await api.channels()):
            pass  # the limiter makes it wait
        # Each channel is a lane of its own; one that has just gone is not found.
        for name in names:
            try:
                assert (await api.channel(name)).name == name
                break
            except (NotFound, BadParameters):
                continue


async def test_the_sandbox_refuses_as_documented(sandbox: SandboxServer) -> None:
    async with Http() as http:
        with pytest.raises(AuthenticationError):
            await RingCloud(KEY.key, "wrong", base_url=sandbox.url, http=http).users()
        with pytest.raises(AuthenticationError):
            await RingCloud("1009_x", "wrong", base_url=sandbox.url, http=http).users()
        with pytest.raises(BadParameters):
            await RingCloud(KEY.key, KEY.password, base_url=sandbox.url, http=http).user("nobody")


async def test_the_sandbox_never_has_to_answer_429(sandbox: SandboxServer) -> None:
    limiter = Limiter()
    async with Http() as http:
        accounts = [
            RingCloud(key, password, base_url=sandbox.url, http=http, limiter=limiter)
            for key, password in ((KEY.key, KEY.password), ("1001_demo", "other"))
        ]
        await asyncio.gather(*(api.users() for api in accounts for _ in range(4)))
    assert limiter.rate_limited == 0
    assert limiter.stats.granted == 8
