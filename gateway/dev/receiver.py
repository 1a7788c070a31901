"""The demo's webhook receiver: verifies with the Standard Webhooks library, which is not the gateway's, and keeps all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Arrival(msgspec.Struct, frozen=True):
    """A webhook whose signature was right: the event, when it came (epoch ms), and its webhook-id."""

    event: dict[str, Any]
    at: int
    webhook_id: str


class Receiver:
    """Listens on a free port of 127.0.0.1. `told` is called with each arrival that is verified."""

    def __init__(self, secret: str, told: Callable[[Arrival], None]) -> None:
        self._webhook = Webhook(secret)
        self._told = told
        self.verified = 0
        self.refused = 0
        self.url = ""

    async def start(self) -> None:
        """Begin to listen; `url` is known afterwards."""
        app = web.Application()
        app.router.add_post("/hooks", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/hooks"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        at = time.time_ns() // 1_000_000
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            event = self._webhook.verify(body, headers)
        except (WebhookVerificationError, ValueError):
            self.refused += 1
            return web.Response(status=401)
        self.verified += 1
        self._told(Arrival(event, at, headers["webhook-id"]))
        return web.Response(status=204)
