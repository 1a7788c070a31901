"""Every way in which a request can fail, over real HTTP; and no secret gets out by any of them."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
from urllib.parse import urlencode

import pytest

from gateway.ringcloud import (
    EnvelopeError,
    Http,
    Limiter,
    RateLimited,
    ResponseTooLarge,
    RingCloud,
    RingCloudError,
    RowError,
    ServerError,
    TransportError,
    UnexpectedStatus,
)
from tests.unit.ringcloud.clients import (
    HASH,
    KEY,
    PASSWORD,
    ROW,
    SECRETS,
    StoppedClock,
    client,
    failure,
)
from tests.unit.ringcloud.scripted_server import Behaviour, begin, drop, hang, raw, reply, scripted


async def test_redirects_are_not_followed() -> None:
    async with scripted(raw(b"", status=302, headers={"Location": "/v1/users"})) as script:
        error = await failure(script, UnexpectedStatus)
    assert (error.status, len(script.asked)) == (302, 1)


@pytest.mark.parametrize("body", [b"", b"<html>504 Gateway Time-out</html>", b'{"status": "error"}'])
async def test_a_failure_without_an_envelope_is_told_by_its_status(body: bytes) -> None:
    async with scripted(raw(body, status=500)) as script:
        assert (await failure(script, ServerError)).message == "RingCloud failed."


async def test_what_is_no_success_with_status_200() -> None:
    async with scripted(raw(b"<html>fine</html>", headers={"Content-Type": "text/html"})) as script:
        await failure(script, EnvelopeError)
    async with scripted(reply(message=f"key {KEY} is asleep")) as script:
        assert (await failure(script, EnvelopeError)).message == "key *** is asleep"
    async with scripted(reply([ROW, {**ROW, "seconds": -1}])) as script:
        error = await failure(script, RowError)
    assert isinstance(error, RowError)
    assert (error.row, error.field, error.status) == (1, "seconds", 200)


@pytest.mark.parametrize(
    "said",
    [
        f"{'x' * 480} {KEY} {HASH}",
        f"{json.dumps(PASSWORD)} {json.dumps(PASSWORD, ensure_ascii=False)}",
        f"GET /v1/calls/active?{urlencode({'api_key': KEY, 'hash': HASH, 'pw': PASSWORD})}",
    ],
)
async def test_a_secret_is_taken_out_in_any_form(said: str) -> None:
    async with scripted(reply(status=500, message=said)) as script:
        message = (await failure(script, ServerError)).message
    assert "***" in message
    assert len(message) <= 500
    for secret in (KEY, HASH, "p4ssw0rd"):
        assert secret[:8] not in message


async def test_a_dropped_connection() -> None:
    async with scripted(drop) as script:
        error = await failure(script, TransportError)
    assert (error.maybe_done, error.status) == (True, None)


async def test_a_truncated_body() -> None:
    for length in (1000, None):
        async with scripted(begin(b'{"status":"success","data":[', length=length)) as script:
            error = await failure(script, TransportError)
        assert (error.maybe_done, error.status) == (True, 200)


async def test_what_is_not_http() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        await failure(f"http://{host}:{port}", TransportError)


async def test_nobody_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    error = await failure(f"http://{host}:{port}", TransportError)
    assert isinstance(error, TransportError)
    assert error.maybe_sent is False
    assert error.maybe_done is False


async def test_a_name_that_does_not_exist() -> None:
    error = await failure("http://nowhere.invalid", TransportError)
    assert error.maybe_done is False


@pytest.mark.parametrize("behaviour", [hang, begin(b"{", length=10, then=hang)])
async def test_the_timeout_bounds_the_whole_request(behaviour: Behaviour) -> None:
    async with scripted(behaviour) as script:
        error = await failure(script, TransportError, timeout=0.2)
    assert error.maybe_done
    assert "within 0.2 s" in error.message


async def test_a_pool_that_is_full_is_no_request_sent() -> None:
    async with scripted(hang) as script, Http(max_connections=1) as http:
        first = asyncio.create_task(client(script, http=http, timeout=60).active_calls())
        await script.arrived.wait()
        error = await failure(script, TransportError, http=http, timeout=0.1)
        assert error.maybe_done is False
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"x" * 5000),
        begin(b"x" * 5000, then=hang),
        raw(gzip.compress(b"x" * 5000), headers={"Content-Encoding": "gzip"}),
        raw(b"x" * 5000, status=500),
    ],
)
async def test_an_answer_that_is_too_large_is_not_read(behaviour: Behaviour) -> None:
    async with scripted(behaviour) as script:
        error = await failure(script, ResponseTooLarge, max_response_bytes=4096)
    assert "4096" in error.message


async def test_content_encoding_is_undone_and_a_broken_one_is_an_error() -> None:
    body = b'{"status":"success","data":[]}'
    async with (
        scripted(raw(gzip.compress(body), headers={"Content-Encoding": "gzip"})) as script,
        client(script) as api,
    ):
        assert (await api.fetch_active()).body == body
    async with scripted(raw(body, headers={"Content-Encoding": "gzip"})) as script:
        await failure(script, EnvelopeError)


async def test_a_get_is_not_repeated_on_a_kept_connection_that_is_closed() -> None:
    async with scripted(reply([]), drop, reply([])) as script, client(script) as api:
        await api.fetch_active()
        with pytest.raises(TransportError):
            await api.fetch_active()
        assert len(script.asked) == 2
        assert script.asked[0].connection == script.asked[1].connection


async def test_a_429_tells_when_the_lane_is_free_again() -> None:
    limiter = Limiter(StoppedClock())
    async with scripted(reply(status=429, message="slower", headers={"Retry-After": "30"})) as script:
        error = await failure(script, RateLimited, limiter=limiter)
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(30.002)
    assert limiter.rate_limited == 1


async def test_a_request_that_failed_leaves_its_lane_usable() -> None:
    async with scripted(hang, drop, reply(status=500), reply([])) as script, client(script, timeout=0.2) as api:
        for _ in range(3):
            with pytest.raises(RingCloudError):
                await api.active_calls()
        assert await api.active_calls() == []


def test_a_client_does_not_show_its_secrets() -> None:
    assert not any(secret in repr(RingCloud(KEY, PASSWORD)) for secret in SECRETS)


async def test_no_log_line_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # every step is logged as slow
    behaviours = [
        reply([ROW], headers={"Set-Cookie": "a=b; expires=never; ="}),
        reply(status=403, message=f"{KEY} {HASH}"),
        drop,
        begin(b"{", length=10),
        raw(b"x", headers={"Content-Encoding": "gzip"}),
        hang,
    ]
    async with scripted(*behaviours) as script, client(script, timeout=0.2) as api:
        await api.active_calls()
        for _ in behaviours[1:]:
            with pytest.raises(RingCloudError) as raised:
                await api.active_calls()
            logging.getLogger("user").error("failed", exc_info=raised.value)
        with pytest.raises(RingCloudError):
            await api.originate("400", "1")
    loop.set_debug(False)
    gc.collect()
    lines = [caplog.handler.format(record) for record in caplog.records]
    assert any("slow" in line or "took" in line for line in lines)
    for secret in (*SECRETS, "api_key"):
        assert not any(secret in line for line in lines)
