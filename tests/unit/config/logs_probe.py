"""Logs at debug while RingCloud is asked: `python -m tests.unit.config.logs_probe console|json KEY PASSWORD`."""

from __future__ import annotations

import asyncio
import logging
import sys

import structlog

from gateway.ringcloud import Http, Limiter, RingCloud, RingCloudError
from gateway.runtime import logs
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings


async def main(format_: str, key: str, password: str) -> None:
    assert format_ in ("console", "json")
    logs.set_up("json" if format_ == "json" else "console", "debug")
    log = structlog.get_logger("probe")
    log.debug("asking", account=1000)
    logging.getLogger("elsewhere").info("said %s", "something")
    async with SandboxServer(SandboxSettings([KeySpec(key, password)])) as server, Http() as http:
        for url in (server.url, "http://127.0.0.1:1"):
            api = RingCloud(key, password, base_url=url, http=http, limiter=Limiter())
            try:
                await api.active_calls()
                await api.originate(user="nobody", num="1")
            except RingCloudError:
                log.exception("failed")
    # What httpx itself says at these levels.
    logging.getLogger("httpx").info("HTTP Request: GET https://x/?api_key=%s", key)
    logging.getLogger("httpcore.http11").debug("send_request_headers %s", key)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
