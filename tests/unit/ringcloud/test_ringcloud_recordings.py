"""Recordings over real HTTP: streamed, saved whole or not at all, and their turn held for as long as they last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from gateway.ringcloud import (
    DeadlineExceeded,
    EnvelopeError,
    Limiter,
    NotFound,
    ResponseTooLarge,
    RingCloud,
    RingCloudError,
    ServerError,
    TransportError,
)
from tests.unit.ringcloud.clients import StoppedClock, client, no_secret
from tests.unit.ringcloud.scripted_server import Behaviour, begin, drop, hang, raw, reply, scripted

WAV = b"RIFF" + bytes(range(256)) * 4000


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def bytes_in(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


async def read(api: RingCloud, name: str = "1.wav") -> bytes:
    async with api.record("400", name) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_a_recording_is_streamed() -> None:
    async with scripted(raw(WAV)) as script, client(script) as api:
        async with api.record("4/0", "a b/1.wav") as pieces:
            got = [piece async for piece in pieces]
        assert b"".join(got) == WAV
        assert max(map(len, got)) <= 64 * 1024
        assert await read(api) == WAV
    assert script.asked[0].path == "/v1/users/4%2F0/records/a%20b%2F1.wav"
    assert script.asked[0].headers["Accept-Encoding"] == "identity"
    assert script.asked[0].connection == script.asked[1].connection


async def test_the_first_piece_is_had_before_the_last_is_sent() -> None:
    more = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        await more.wait()
        await response.write(b"two")
        return response

    async with scripted(slow) as script, client(script) as api, api.record("400", "1.wav") as pieces:
        assert await anext(pieces) == b"one"
        more.set()
        assert [piece async for piece in pieces] == [b"two"]


async def test_the_lane_is_held_until_the_block_is_left() -> None:
    limiter = Limiter(StoppedClock())
    async with scripted(raw(WAV)) as script, client(script, limiter=limiter) as api:
        async with api.record("400", "1.wav"):
            waiting = asyncio.create_task(read(api))
            await read(api, "2.wav")  # another URL, another lane
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        with pytest.raises(DeadlineExceeded):
            async with api.record("400", "1.wav", deadline=api.now() + 0.5):
                raise AssertionError
    assert len(script.asked) == 2


async def test_a_block_that_is_left_early_leaves_nothing_behind() -> None:
    async with scripted(begin(WAV, then=hang), raw(WAV)) as script, client(script) as api:
        async with api.record("400", "1.wav") as pieces:
            async for _ in pieces:
                break
        with pytest.raises(LookupError):
            async with api.record("400", "1.wav"):
                raise LookupError
        assert await read(api) == WAV


async def test_another_calls_error_inside_the_block_keeps_its_url() -> None:
    async with scripted(raw(WAV), reply([])) as script, client(script, limiter=Limiter(StoppedClock())) as api:

        async def within() -> None:
            async with api.record("400", "1.wav"):
                await api.users()
                await api.users(deadline=api.now())

        with pytest.raises(DeadlineExceeded) as raised:
            await within()
    assert raised.value.url == f"{script.url}/v1/users"


FAILURES: list[tuple[Behaviour, type[RingCloudError], int | None]] = [
    (raw(b"", status=404), NotFound, 404),
    (raw(b"", status=500), ServerError, 500),
    (raw(b""), EnvelopeError, 200),
    (raw(b"<html>sorry</html>", headers={"Content-Type": "text/html; charset=utf-8"}), EnvelopeError, 200),
    (raw(b'{"status":"error"}', headers={"Content-Type": "application/json"}), EnvelopeError, 200),
    (begin(WAV, length=2 * len(WAV)), TransportError, 200),
    (begin(WAV), TransportError, 200),
    (begin(b"RIFF", then=hang), TransportError, 200),
    (raw(WAV * 2), ResponseTooLarge, 200),
    (raw(b"no gzip", headers={"Content-Encoding": "gzip"}), EnvelopeError, 200),
    (drop, TransportError, None),
    (hang, TransportError, None),
]


@pytest.mark.parametrize(("behaviour", "kind", "status"), FAILURES)
async def test_a_recording_that_fails(
    behaviour: Behaviour, kind: type[RingCloudError], status: int | None, tmp_path: Path
) -> None:
    target = tmp_path / "1.wav"
    target.write_bytes(b"old")

    async def save(api: RingCloud) -> None:
        await api.save_record("400", "1.wav", target)

    ways: list[Callable[[RingCloud], object]] = [read, save]
    for way in ways:
        async with (
            scripted(behaviour) as script,
            client(script, timeout=0.3, max_record_bytes=len(WAV) + 1) as api,
        ):
            with pytest.raises(kind) as raised:
                await way(api)  # type: ignore[misc]
        assert type(raised.value) is kind
        assert raised.value.status == status
        assert raised.value.url == f"{script.url}/v1/users/400/records/1.wav"
        no_secret(raised.value)
    assert files(tmp_path) == ["1.wav"]
    assert target.read_bytes() == b"old"


async def test_a_recording_is_saved_whole(tmp_path: Path) -> None:
    target = tmp_path / "1.wav"
    async with scripted(raw(WAV)) as script, client(script, max_record_bytes=len(WAV)) as api:
        for _ in range(2):
            assert await api.save_record("400", "1.wav", target) == len(WAV)
            assert target.read_bytes() == WAV
            assert target.stat().st_mode & 0o777 == 0o600
        with pytest.raises(FileNotFoundError):
            await api.save_record("400", "1.wav", tmp_path / "nowhere" / "1.wav")
        with pytest.raises(IsADirectoryError):
            await api.save_record("400", "1.wav", tmp_path)
    assert files(tmp_path) == ["1.wav"]
    assert not any(name.endswith(".part") for name in files(tmp_path.parent))


async def test_saving_is_repeated_as_a_whole(tmp_path: Path) -> None:
    behaviours = (raw(b"", status=500), begin(WAV, length=2 * len(WAV)), raw(WAV))
    async with scripted(*behaviours) as script, client(script, read_retries=2) as api:
        assert await api.save_record("400", "1.wav", tmp_path / "1.wav") == len(WAV)
    assert (tmp_path / "1.wav").read_bytes() == WAV
    assert len(script.asked) == 3


async def test_opening_is_repeated_and_reading_on_is_not() -> None:
    async with scripted(drop, begin(WAV, length=2 * len(WAV))) as script, client(script, read_retries=2) as api:
        with pytest.raises(TransportError):
            await read(api)
    assert len(script.asked) == 2


async def test_saving_that_is_cancelled_leaves_no_file(tmp_path: Path) -> None:
    async with scripted(begin(WAV, then=hang)) as script, client(script) as api:
        saving = asyncio.create_task(api.save_record("400", "1.wav", tmp_path / "1.wav"))
        while not bytes_in(tmp_path):  # noqa: ASYNC110 - the file tells
            await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert not files(tmp_path)
