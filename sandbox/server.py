"""The HTTP server of a sandbox: one request from the socket to its answer."""

import asyncio
import contextlib
import logging
import socket
import traceback
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
from aiohttp import web

from sandbox.admin import PREFIX, Admin
from sandbox.auth import Keyring, permit
from sandbox.clock import Clock, RealClock
from sandbox.faults import FaultKind, Faults, Trouble
from sandbox.handlers import Ask
from sandbox.limits import Lane, Limiter, MemoryLimiter
from sandbox.pbx import Pbx
from sandbox.replies import ApiError, failure, success, to_json
from sandbox.routes import UNKNOWN, Match, Route, Router
from sandbox.settings import SandboxSettings
from sandbox.stats import Stats

_log = structlog.get_logger(__name__)
_http_log = logging.getLogger("sandbox.http")
_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"
_SHUTDOWN_SECONDS = 2.0


def _without_details(record: logging.LogRecord) -> bool:
    # aiohttp quotes a request that it cannot parse in its exception, key and hash included.
    record.exc_info = None
    return True


_http_log.addFilter(_without_details)


class SandboxServer:
    """A sandbox that listens while its `async with` block runs.

    `port` 0 takes a free one; `clock` None is the real time; `limiter` None counts within this process. After entry
    `url` is where it listens and `pbx` is its PBX. OSError when the port is taken.
    """

    url: str

    def __init__(
        self,
        settings: SandboxSettings,
        port: int = 0,
        clock: Clock | None = None,
        *,
        host: str = "127.0.0.1",
        limiter: Limiter | None = None,
    ) -> None:
        self._settings = settings
        self._address = (host, port)
        self._clock = clock or RealClock()
        self._limiter = limiter or MemoryLimiter()
        self.keyring = Keyring(settings.keys)
        self._router = Router(settings.complete_urls)
        self._skew_ms = round(settings.clock_skew_seconds * 1000)
        self._date = (0, "")
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self.pbx = Pbx(settings, self._clock)
        # By their texts, as what comes in a query may be anything.
        self._account_of = {str(number): number for number in self.pbx.accounts}
        self.stats = Stats()
        self.faults = Faults(self._clock, settings.seed)
        self._admin = Admin(self.pbx, self.stats, self.faults, self.keyring, self._clock)

    async def __aenter__(self) -> Self:
        listener = socket.create_server(self._address, backlog=1024)
        try:
            host, port = listener.getsockname()[:2]
            # Cancellation ends a hanging answer when its client goes.
            server = web.Server(self._handle, access_log=None, logger=_http_log, handler_cancellation=True)
            self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
            await self._runner.setup()
            await web.SockSite(self._runner, listener).start()
        except BaseException:
            listener.close()
            raise
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        arrived_ns = self._clock.monotonic_ns()
        method, raw_path = request.method, request.rel_url.raw_path
        if raw_path.startswith(PREFIX):
            return await self._handle_admin(request, method, raw_path)
        match: Match | None = None
        headers: dict[str, str] | None = None
        status, trouble = 200, Trouble(None)
        try:
            match = self._router.find(method, raw_path)
            ask = await self._admit(request, match, arrived_ns)
            trouble = self.faults.take(ask.account, match.route.name)
            if trouble.kind is None:
                body = self._answer(match.route, ask)
            else:
                status, body = await self._misbehave(trouble.kind, match, ask)
        except ApiError as error:
            status, body, headers = error.status, failure(error.message), error.headers
        except web.HTTPException as error:
            # Raised by aiohttp while it reads a body that is too large.
            status, body = 400, failure(error.reason)
        except Exception:  # noqa: BLE001 - whatever went wrong, the caller is owed an envelope
            # No query, as it carries key and hash; and no log.exception, as its renderer may print local variables.
            _log.error("request failed", method=method, path=raw_path, traceback=traceback.format_exc())
            status, body = 500, failure("internal error")
        template = UNKNOWN if match is None else match.route.template
        bare = match is not None and match.route.bare
        if bare and status != 200:
            body = b""
        # After the answer was made: what is held back on its way tells of the past when it arrives.
        if trouble.delay_ms:
            await self._pause(trouble.delay_ms / 1000)
        unanswered = trouble.kind in ("hang", "drop", "truncated")
        self.stats.answered(method, template, 0 if unanswered else status)
        date = self._http_date(self._skew_of(request))
        if unanswered:
            return await self._break_off(request, status, body, date)
        kind = "text/html" if trouble.kind == "html200" else "audio/wav" if bare else "application/json"
        return _reply(status, body, date, headers, kind)

    def _answer(self, route: Route, ask: Ask) -> bytes:
        data = route.handler(self.pbx, ask)
        return data if route.bare else success(data)

    async def _admit(self, request: web.BaseRequest, match: Match, arrived_ns: int) -> Ask:
        """Authentication, rights, limits, the body: a wrong body has used its slot, a wrong hash or right has not."""
        query, route = request.query, match.route
        info = self.keyring.authenticate(query.get("api_key"), query.get("hash"))
        permit(info, route.resource, change=route.method == "POST")
        lane = Lane(info.key, route.method, match.path)
        accepted = await self._limiter.admit(lane, route.limit_ms, arrived_ns)
        self.stats.arrived(lane, route.limit_ms, arrived_ns, accepted=accepted)
        if not accepted:
            raise ApiError(429, "too many requests")
        body = await request.read() if route.method == "POST" else b""
        params = _params(body) if body or (route.method == "POST" and route.params) else {}
        return Ask(info.account, match.args, query, params)

    async def _handle_admin(self, request: web.BaseRequest, method: str, path: str) -> web.Response:
        try:
            answer = self._admin.answer(method, path, request.query, await request.read())
            status, body, headers, kind = 200, answer.body, None, answer.content_type
        except ApiError as error:
            status, body = error.status, to_json({"error": error.message})
            headers, kind = error.headers, "application/json"
        return _reply(status, body, self._http_date(self._skew_ms), headers, kind)

    async def _misbehave(self, fault: FaultKind, match: Match, ask: Ask) -> tuple[int, bytes]:
        if fault == "error500":
            return 500, failure("internal error")
        if fault == "error429":
            return 429, failure("too many requests")
        if fault == "html200":
            return 200, _HTML
        if fault == "empty_list":
            empty = b"[]" if match.route.listing else b"null"
            return 200, b"" if match.route.bare else success(empty)
        if fault == "truncated":
            return 200, self._answer(match.route, ask)
        if fault == "hang":
            await self._pause(self._settings.hang_seconds)
        return 200, b""

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than the sandbox lives."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _break_off(self, request: web.BaseRequest, status: int, body: bytes, date: str) -> web.StreamResponse:
        """Close the connection: before any answer when `body` is empty, else in the middle of it."""
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", "Date": date})
        if body:
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    def _skew_of(self, request: web.BaseRequest) -> int:
        account = request.query.get("api_key", "").partition("_")[0]
        known = self._account_of.get(account)
        return self._skew_ms if known is None else self.pbx.skew_ms(known)

    def _http_date(self, skew_ms: int) -> str:
        second = (self._clock.now() + skew_ms) // 1000
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _reply(
    status: int, body: bytes, date: str, extra: dict[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    headers = {"Content-Type": content_type, "Date": date}
    if extra is not None:
        headers.update(extra)
    return web.Response(status=status, body=body, headers=headers)


def _params(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise ApiError(400, "the body is not JSON") from None
    params = decoded.get("params") if isinstance(decoded, dict) else None
    if not isinstance(params, dict):
        raise ApiError(400, 'the body has the form {"params": {...}}')
    return params
