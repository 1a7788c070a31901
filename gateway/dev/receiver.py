"""The demo's webhook receiver: verifies with the Standard Webhooks library, which is not the gateway's, and keeps all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.contract.times import millis
from gateway.listening.server import Hook, HookServer
from gateway.listening.verifier import NotVerifiedError


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
        self._server = HookServer(self._verify, self._answer)
        self.verified = 0
        self.refused = 0
        self.url = ""

    async def start(self) -> None:
        """Begin to listen; `url` is known afterwards."""
        await self._server.start()
        self.url = f"{self._server.url}/hooks"

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop()

    def _verify(self, body: bytes, headers: Mapping[str, str]) -> tuple[str, ...]:
        try:
            self._webhook.verify(body, dict(headers))
        except (WebhookVerificationError, ValueError) as error:
            raise NotVerifiedError(str(error)) from None
        return ("v1",)

    async def _answer(self, hook: Hook) -> web.Response:
        if hook.refusal is not None:
            self.refused += 1
            return web.Response(status=hook.refusal.status)
        self.verified += 1
        self._told(Arrival(msgspec.json.decode(hook.body), millis(hook.at), hook.headers["webhook-id"]))
        return web.Response(status=204)
