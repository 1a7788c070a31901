"""The HTTP server of a sandbox: one request from the socket to its answer."""

import asyncio
import contextlib
import logging
import socket
import traceback
from email.utils import formatdate
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from sandbox.admin import PREFIX
from sandbox.clock import Clock, RealClock
from sandbox.docs import Docs
from sandbox.faults import Faults
from sandbox.machine import Served
from sandbox.pbx import Pbx
from sandbox.replies import ApiError, failure, to_json
from sandbox.routes import UNKNOWN, Match, Router
from sandbox.settings import SandboxSettings
from sandbox.state import MemoryState, State
from sandbox.stats import Stats
from sandbox.steps import AdminStep, ApiStep

_log = structlog.get_logger(__name__)
_http_log = logging.getLogger("sandbox.http")
_STATS = f"{PREFIX}stats"
_SHUTDOWN_SECONDS = 2.0


def _without_details(record: logging.LogRecord) -> bool:
    # aiohttp quotes a request that it cannot parse in its exception, key and hash included.
    record.exc_info = None
    return True


_http_log.addFilter(_without_details)


class SandboxServer:
    """A sandbox that listens while its `async with` block runs.

    `port` 0 takes a free one; `clock` None is the real time; `state` None is that of this process alone, any other brings
    its own clock. After entry `url` is where it listens and `pbx` is its PBX. OSError when the port is taken, StateError
    when the state cannot be had.
    """

    url: str

    def __init__(
        self,
        settings: SandboxSettings,
        port: int = 0,
        clock: Clock | None = None,
        *,
        host: str = "127.0.0.1",
        state: State | None = None,
    ) -> None:
        self._settings = settings
        self._address = (host, port)
        self._router = Router(settings.complete_urls)
        self._docs = Docs(self._router.routes)
        self._skew_ms = round(settings.clock_skew_seconds * 1000)
        self._date = (0, "")
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._state = state or MemoryState(settings, clock or RealClock(), self._router)
        # By their texts, as what comes in a query may be anything.
        self._account_of = {str(number): number for number in settings.accounts}

    @property
    def pbx(self) -> Pbx:
        """The PBX, to be read and changed by who shares this process."""
        return self._state.machine.pbx

    @property
    def faults(self) -> Faults:
        """The faults, likewise."""
        return self._state.machine.faults

    @property
    def stats(self) -> Stats:
        """What was asked so far. TypeError where the state is shared: `/_sandbox/stats` has the figures of all nodes."""
        if not isinstance(self._state, MemoryState):
            raise TypeError("a shared state keeps the figures")
        return self._state.stats

    async def __aenter__(self) -> Self:
        listener = socket.create_server(self._address, backlog=1024)
        try:
            await self._state.open()
            host, port = listener.getsockname()[:2]
            # Cancellation ends a hanging answer when its client goes.
            server = web.Server(self._handle, access_log=None, logger=_http_log, handler_cancellation=True)
            self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
            await self._runner.setup()
            await web.SockSite(self._runner, listener).start()
        except BaseException:
            listener.close()
            await self._state.close()
            raise
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._state.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        method, raw_path = request.method, request.rel_url.raw_path
        if raw_path.startswith(PREFIX):
            return await self._handle_admin(request, method, raw_path)
        if raw_path in Docs.urls:
            return self._handle_docs(method, raw_path)
        match: Match | None = None
        try:
            match = self._router.find(method, raw_path)
            given = await _body(request) if method == "POST" else b""
            served = await self._state.step(ApiStep(match, raw_path, request.query, given))
        except ApiError as error:
            served = Served(error.status, failure(error.message), error.headers)
        except Exception:  # noqa: BLE001 - whatever went wrong, the caller is owed an envelope
            # No query, as it carries key and hash; and no log.exception, as its renderer may print local variables.
            _log.error("request failed", method=method, path=raw_path, traceback=traceback.format_exc())
            served = Served(500, failure("internal error"))
        trouble = served.trouble
        template = UNKNOWN if match is None else match.route.template
        bare = match is not None and match.route.bare
        body = b"" if bare and served.status != 200 else served.body
        if trouble.kind == "hang":
            await self._pause(self._settings.hang_seconds)
        # After the answer was made: what is held back on its way tells of the past when it arrives.
        if trouble.delay_ms:
            await self._pause(trouble.delay_ms / 1000)
        unanswered = trouble.kind in ("hang", "drop", "truncated")
        self._state.answered(method, template, 0 if unanswered else served.status)
        date = self._http_date(self._skew_of(request))
        if unanswered:
            return await self._break_off(request, served.status, body, date)
        kind = "text/html" if trouble.kind == "html200" else "audio/wav" if bare else "application/json"
        return _reply(served.status, body, date, served.headers, kind)

    async def _handle_admin(self, request: web.BaseRequest, method: str, path: str) -> web.Response:
        try:
            if path == _STATS:
                served = await self._answer_stats(method)
            else:
                served = await self._state.step(AdminStep(method, path, request.query, await request.read()))
        except ApiError as error:
            served = Served(error.status, to_json({"error": error.message}), error.headers)
        return _reply(served.status, served.body, self._http_date(self._skew_ms), served.headers, served.content_type)

    async def _answer_stats(self, method: str) -> Served:
        if method != "GET":
            raise ApiError(405, "use GET", {"Allow": "GET"})
        return Served(200, to_json(await self._state.report()))

    def _handle_docs(self, method: str, url: str) -> web.Response:
        date = self._http_date(self._skew_ms)
        try:
            body, kind = self._docs.answer(method, url)
        except ApiError as error:
            return _reply(error.status, failure(error.message), date, error.headers)
        return _reply(200, body, date, content_type=kind)

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
        second = (self._state.clock.now() + skew_ms) // 1000
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


async def _body(request: web.BaseRequest) -> bytes | ApiError:
    try:
        return await request.read()
    except web.HTTPException as error:
        # It is too large.
        return ApiError(400, error.reason)
    except web.RequestPayloadError:
        # Compressed, it says, and is not.
        return ApiError(400, "the body cannot be read")
