"""The receiver of the benchmarks: counts what came whole, however it is cut up, and misbehaves as it is asked to."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from bench.hooks import DRIPS, HANGS, POURS, RESETS, Hooks, hook_server, host_of
from tests.support.waiting import eventually

BODY = b'{"id":"x","data":{"observed_at":"2026-11-24T20:21:11.5Z"}}'


def request(path: str, body: bytes = BODY) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nWebhook-Id: the-id\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    async with hook_server(3) as url, aiohttp.ClientSession() as http:
        yield Hooks(url, http)


async def connected(hooks: Hooks, number: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(host_of(number), hooks.port)


async def test_requests_are_counted_when_they_are_whole_wherever_they_are_cut(hooks: Hooks) -> None:
    reader, writer = await connected(hooks)
    whole = request("/well/0")
    for cut in range(1, len(whole)):
        writer.write(whole[:cut])
        await writer.drain()
        assert await hooks.count() == cut - 1
        writer.write(whole[cut:])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert await hooks.count() == len(whole) - 1
    writer.close()


async def test_requests_that_come_together_are_each_answered(hooks: Hooks) -> None:
    reader, writer = await connected(hooks)
    writer.write(request("/well/0") * 5)
    for _ in range(5):
        await reader.readuntil(b"\r\n\r\n")
    assert await hooks.count() == 5
    writer.close()


async def test_arrivals_are_kept_from_when_it_is_asked_for_and_given_once(hooks: Hooks) -> None:
    async with aiohttp.ClientSession() as http:
        for n in range(3):
            if n == 1:
                await hooks.keep()
            async with http.post(hooks.endpoint(n), data=BODY, headers={"webhook-id": f"id-{n}"}) as answer:
                assert answer.status == 200
    first = await hooks.take()
    assert [(one.id, one.path, one.observed_at) for one in first] == [
        ("id-1", "/well/1", "2026-11-24T20:21:11.5Z"),
        ("id-2", "/well/2", "2026-11-24T20:21:11.5Z"),
    ]
    assert first[0].at <= first[1].at
    assert await hooks.take() == []


async def test_one_that_hangs_counts_and_never_answers_while_others_do(hooks: Hooks) -> None:
    reader, writer = await connected(hooks, 1)
    writer.write(request(f"/{HANGS}/1"))
    await eventually(lambda: _is(hooks, 1), what="the hook is counted")
    other, other_writer = await connected(hooks, 2)
    other_writer.write(request("/well/2"))
    await other.readuntil(b"\r\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    writer.close()
    other_writer.close()


async def test_one_that_drips_promises_much_and_sends_a_byte_now_and_then(hooks: Hooks) -> None:
    reader, writer = await connected(hooks)
    writer.write(request(f"/{DRIPS}/0"))
    assert b"Content-Length: 10000000" in await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(2) == b".."
    writer.close()


async def test_one_that_pours_promises_10_gb_and_stops_when_it_is_left(hooks: Hooks) -> None:
    reader, writer = await connected(hooks)
    writer.write(request(f"/{POURS}/0"))
    assert b"Content-Length: 10000000000" in await reader.readuntil(b"\r\n\r\n")
    # More than it may have had in its buffers when it was paused for the first time.
    for _ in range(200):
        await reader.readexactly(64 * 1024)
    # Others are answered meanwhile, and afterwards.
    assert await hooks.count() == 1
    writer.transport.abort()
    assert await hooks.count() == 1


async def test_one_that_resets_counts_and_breaks_the_connection(hooks: Hooks) -> None:
    reader, writer = await connected(hooks)
    writer.write(request(f"/{RESETS}/0"))
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert await hooks.count() == 1
    writer.close()


async def _is(hooks: Hooks, count: int) -> bool:
    return await hooks.count() == count
