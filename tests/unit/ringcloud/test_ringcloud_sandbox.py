"""The client against the sandbox, which is another party's reading of the same API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ringcloud import AuthenticationError, BadParameters, Http, Limiter, NotFound, RingCloud, User
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


async def test_a_user_is_made_and_changed(sandbox: SandboxServer) -> None:
    async with RingCloud(KEY.key, KEY.password, base_url=sandbox.url) as api:
        name = await api.create_user("first", "455", "a@b")
        assert await api.user(name) == User(
            user=name, account_id="1000", num="455", mail="a@b", voice_mail_box=False, password="first"
        )
        await api.update_password(name, "second")
        await api.update_extension_number(name, "456")
        await api.update_email(name, "c@d")
        await api.voice_mail_box_on(name)
        changed = await api.user(name)
        assert (changed.num, changed.mail, changed.voice_mail_box, changed.password) == ("456", "c@d", True, "second")
        await api.voice_mail_box_off(name)
        assert (await api.user(name)).voice_mail_box is False
        for wrong in (api.update_extension_number("401", "x"), api.update_email("nobody", "a@b")):
            with pytest.raises(BadParameters):
                await wrong
        assert api.limiter.rate_limited == 0


async def test_recordings_sums_and_numbers(sandbox: SandboxServer, tmp_path: Path) -> None:
    target = tmp_path / "last.wav"
    async with RingCloud(KEY.key, KEY.password, base_url=sandbox.url) as api:
        assert (await api.balance(1000)).is_finite()
        assert (await api.phone_number("74950001122")).country == "Russia"
        while not (recordings := await api.records("400")):
            pass  # the limiter makes it wait
        size = await api.save_record("400", recordings[0].file, target)
        assert size == target.stat().st_size
        assert target.read_bytes()[:4] == b"RIFF"
        async with api.record("400", recordings[-1].file) as pieces:
            assert (await anext(pieces))[:4] == b"RIFF"
        with pytest.raises(NotFound) as raised:
            await api.save_record("400", "nothing.wav", target)
        assert raised.value.status == 404
        with pytest.raises(AuthenticationError):
            await api.balance(1001)
        assert api.limiter.rate_limited == 0


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
