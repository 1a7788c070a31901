"""An HTTP server that webhooks are POSTed to, at any path: bounds the body, verifies, and asks what to answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from aiohttp import web
from multidict import CIMultiDictProxy

from gateway.listening.verifier import NotVerifiedError, Verify

# More than the gateway ever sends (900 KiB).
MAX_BODY = 1024 * 1024
# Seconds that answers under way get when the server stops.
_STOP_SECONDS = 1.0


class Refusal(NamedTuple):
    """Why a webhook is not taken, and the status that says so."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as it came, and the schemes it was verified under, or why it wasn't."""

    at: datetime
    headers: CIMultiDictProxy[str]
    body: bytes
    schemes: tuple[str, ...] = ()
    refusal: Refusal | None = None


Answer = Callable[[Hook], Awaitable[web.StreamResponse]]


class HookServer:
    """Listens for webhooks. `answer` is asked what each is answered with, also where it is not taken."""

    def __init__(self, verify: Verify | None, answer: Answer, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Take who decides whether a webhook is genuine (None: all are taken) and where to listen (0: a free port)."""
        self._verify = verify
        self._answer = answer
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Begin to listen; `url` is known afterwards.

        Raises:
            OSError: It can't listen there.
        """
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/{path:.*}", self._receive)
        # What is signed is what was sent: nothing is unpacked.
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=_STOP_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        at = datetime.now(UTC)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return await self._answer(
                Hook(at, request.headers, b"", refusal=Refusal(413, f"more than {MAX_BODY} bytes"))
            )
        if self._verify is None:
            return await self._answer(Hook(at, request.headers, body))
        try:
            schemes = self._verify(body, request.headers)
        except NotVerifiedError as error:
            return await self._answer(Hook(at, request.headers, body, refusal=Refusal(401, str(error))))
        return await self._answer(Hook(at, request.headers, body, schemes))
