"""Every call, whatever comes of it, with all logs at DEBUG: no line holds a secret."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path

import pytest
from aiohttp import web

from gateway.ringcloud import Http, RingCloud, RingCloudError
from tests.unit.ringcloud.clients import PASSWORD, SECRETS, client
from tests.unit.ringcloud.forward_proxy import forward_proxy
from tests.unit.ringcloud.scripted_server import Behaviour, begin, drop, raw, reply, scripted
from tests.unit.ringcloud.test_ringcloud_reads import READS
from tests.unit.ringcloud.test_ringcloud_users import CHANGES

NEW, PROXY = "n3w-p4ssw0rd", "pr0xy-p4ssw0rd"


async def every_call(api: RingCloud, directory: Path) -> int:
    """Make every call once; how many failed."""

    async def stream() -> None:
        async with api.record("400", "1.wav") as pieces:
            async for _ in pieces:
                pass

    calls = [
        *(lambda call=call: call(api) for call, *_ in (*READS.values(), *CHANGES.values())),  # type: ignore[misc]
        lambda: api.update_password("400", NEW),
        lambda: api.create_user(NEW, "499", "a@b"),
        lambda: api.save_record("400", "1.wav", directory / "1.wav"),
        stream,
    ]
    failed = 0
    for call in calls:
        try:
            await call()
        except RingCloudError as error:
            failed += 1
            logging.getLogger("user").error("failed: %r", error, exc_info=error)
    return failed


def echo(status: int) -> Behaviour:
    """A failure that repeats all that it was sent, and the key's password."""

    async def behave(request: web.BaseRequest) -> web.StreamResponse:
        body = (await request.read()).decode()
        message = " ".join([*request.query.values(), PASSWORD, body])
        return await reply(status=status, message=message)(request)

    return behave


@pytest.fixture
def debugged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.mark.parametrize(
    ("behaviour", "all_fail"),
    [
        (reply({"user": "400", "Channel": "x"}), False),
        (reply([]), False),
        (echo(403), True),
        (echo(200), False),  # a recording that says so is bytes like any other
        (drop, True),
        (begin(b"{", length=10), True),
        (raw(b"x", headers={"Content-Encoding": "gzip"}), True),
    ],
)
async def test_no_log_line_of_any_call_holds_a_secret(
    behaviour: Behaviour, all_fail: bool, debugged: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # every step is logged as slow
    async with scripted(behaviour) as script, forward_proxy() as proxy:
        async with Http(proxy=f"http://some:{PROXY}@{proxy.address}") as http:
            failed = await every_call(client(script, http=http, read_retries=1), tmp_path)
        assert proxy.heads
        assert failed == len(READS) + len(CHANGES) + 4 if all_fail else failed
    loop.set_debug(False)
    gc.collect()
    lines = [debugged.handler.format(record) for record in debugged.records]
    assert any("took" in line for line in lines)
    for secret in (*SECRETS, NEW, PROXY, "api_key"):
        assert not [line for line in lines if secret in line]
