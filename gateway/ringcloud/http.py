"""The way to the API: one pool of connections for all accounts, whole-request timeouts, bounded bodies, no secrets out.

httpx's requests and responses go over aiohttp's connections, without httpx's client in between: its client keeps
cookies, follows redirects and logs whole URLs, and the API's secrets are in the URL.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from gateway.contract.times import Ms, millis
from gateway.ringcloud.errors import EnvelopeError, ResponseTooLarge, RingCloudError, TransportError

# Longer than the interval between two polls of an account, so that they share a connection; shorter than the 75 s
# after which nginx closes one by default, so that a request seldom meets a connection that is being closed.
KEEP_ALIVE = 30.0

OnAnswer = Callable[[int, httpx.Headers], None]


class Flight:
    """What is known of one request on its way. Hand one in to know more than the outcome says, also when cancelled.

    `maybe_sent` is False until there is a connection for the request; from then on it may have reached the server.
    """

    __slots__ = ("maybe_sent",)

    def __init__(self) -> None:
        self.maybe_sent = False


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer: its status, headers and body (content encoding undone), and when (wall clock, ms UTC) it was
    asked for and had."""

    status: int
    headers: httpx.Headers
    body: bytes
    sent_at: Ms
    received_at: Ms

    def date(self) -> Ms | None:
        """The server's clock by the Date header, to the second; None where there is none that can be read."""
        text = self.headers.get("date")
        if text is None:
            return None
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        return millis(moment) if moment.tzinfo is not None else None


def wall_clock() -> Ms:
    """The system's clock, ms UTC."""
    return time.time_ns() // 1_000_000


class Http:
    """A pool of connections, to be shared by any number of clients; belongs to one event loop.

    Each POST has a connection of its own: one kept alive can be closed by the server just as the request goes out,
    and then nobody can tell whether the server took it.
    """

    def __init__(
        self,
        *,
        max_connections: int = 256,
        keep_alive: float = KEEP_ALIVE,
        ssl_context: ssl.SSLContext | None = None,
        wall: Callable[[], Ms] = wall_clock,
    ) -> None:
        """`max_connections` bounds those kept for GETs and, apart, those open for POSTs; `keep_alive` is in seconds;
        `ssl_context` replaces the default one (certificates are checked against certifi's)."""
        self._max_connections = max_connections
        self._keep_alive = keep_alive
        self._ssl = ssl_context or httpx.create_ssl_context(trust_env=False)
        self._wall = wall
        self._get = self._transport(kept=True)
        self._post = self._transport(kept=False)

    async def exchange(
        self,
        request: httpx.Request,
        *,
        timeout: float,
        max_bytes: int,
        flight: Flight | None = None,
        on_answer: OnAnswer | None = None,
    ) -> Reply:
        """Send `request`, once, and read its whole answer, whatever its status.

        `timeout` bounds it all, in seconds: the wait for a connection, the request, the answer's body. `on_answer` is
        called with status and headers as soon as these are here.

        Raises TransportError where no whole answer comes, ResponseTooLarge past `max_bytes`, EnvelopeError where the
        body's content encoding is broken.
        """
        flight = flight or Flight()
        status: list[int] = []

        def answered(code: int, headers: httpx.Headers) -> None:
            status.append(code)
            if on_answer is not None:
                on_answer(code, headers)

        token = _flight.set(flight)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(request, max_bytes, answered)
        except RingCloudError:
            raise
        except httpx.DecodingError:
            failure: RingCloudError = EnvelopeError("the body's content encoding is broken")
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            failure = TransportError(_words(error, timeout, flight, bool(status)), maybe_sent=flight.maybe_sent)
        finally:
            _flight.reset(token)
        # Raised out here, where it has no context: aiohttp's own errors carry the whole URL.
        failure.status = status[0] if status else None
        failure.url = bare(request.url)
        raise failure

    async def aclose(self) -> None:
        """Close every connection."""
        await self._get.aclose()
        await self._post.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _exchange(self, request: httpx.Request, max_bytes: int, answered: OnAnswer) -> Reply:
        sent_at = self._wall()
        transport = self._post if request.method == "POST" else self._get
        response = await transport.handle_async_request(request)
        try:
            answered(response.status_code, response.headers)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise ResponseTooLarge(max_bytes, status=response.status_code, url=bare(request.url))
        finally:
            await response.aclose()
        return Reply(
            status=response.status_code,
            headers=response.headers,
            body=bytes(body),
            sent_at=sent_at,
            received_at=self._wall(),
        )

    def _transport(self, *, kept: bool) -> AiohttpTransport:
        def session() -> aiohttp.ClientSession:
            # aiohttp forbids a keep-alive time together with force_close.
            lifetime: dict[str, Any] = {"keepalive_timeout": self._keep_alive} if kept else {"force_close": True}
            made = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, ssl=self._ssl, **lifetime),
                cookie_jar=aiohttp.DummyCookieJar(),  # accounts share the pool: one's cookies are not another's
                trace_configs=[_trace()],
                trust_env=False,
            )
            # aiohttp repeats a GET by itself where a kept connection turns out to be closed. The server may have seen
            # the first one: that would be two requests closer than the limit.
            made._retry_connection = False  # noqa: SLF001 - there is no public setting
            return made

        return AiohttpTransport(verify=self._ssl, trust_env=False, client=session)


def bare(url: httpx.URL) -> str:
    """`url` without its query, which holds the secrets."""
    return str(url.copy_with(query=None))


_flight: ContextVar[Flight] = ContextVar("flight")


def _trace() -> aiohttp.TraceConfig:
    """Marks the flight as soon as it has a connection; called in the task that sends."""

    async def connected(_session: aiohttp.ClientSession, _context: object, _params: object) -> None:
        _flight.get().maybe_sent = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connected)
    trace.on_connection_reuseconn.append(connected)
    return trace


def _words(error: Exception, timeout: float, flight: Flight, answered: bool) -> str:
    """What went wrong, without the libraries' own words: these may hold the whole URL."""
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ is not None else error
    if type(error) is TimeoutError:
        stage = "whole answer" if answered else "answer" if flight.maybe_sent else "connection"
        return f"no {stage} within {timeout:g} s"
    system = getattr(cause, "os_error", cause)
    detail = system.strerror if isinstance(system, OSError) and system.strerror else type(cause).__name__
    if not flight.maybe_sent:
        return f"no connection: {detail}"
    return f"the connection broke {'within' if answered else 'before'} the answer: {detail}"
