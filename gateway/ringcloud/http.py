"""The way to the API: one pool of connections for all accounts, whole-request timeouts, bounded bodies, no secrets out.

httpx's requests and responses go over aiohttp's connections, without httpx's client in between: its client keeps
cookies, follows redirects and logs whole URLs, and the API's secrets are in the URL.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import httpx
import msgspec
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport

from gateway.contract.times import Ms, millis
from gateway.ringcloud.errors import EnvelopeError, ResponseTooLarge, RingCloudError, TransportError

# Longer than the interval between two polls of an account, so that they share a connection; shorter than the 75 s
# after which nginx closes one by default, so that a request seldom meets a connection that is being closed.
KEEP_ALIVE = 30.0

OnAnswer = Callable[[int, httpx.Headers], None]
Done = TypeVar("Done")


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
        return None if text is None else _read_date(text)


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
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        wall: Callable[[], Ms] = wall_clock,
    ) -> None:
        """`max_connections` bounds those kept for GETs and, apart, those open for POSTs; `keep_alive` is in seconds;
        `proxy` is an HTTP proxy's URL, `http://[user:password@]host:port` (the environment's are never used);
        `ssl_context` replaces the default one (certificates are checked against certifi's).

        Raises ValueError for a proxy that is none.
        """
        self._max_connections = max_connections
        self._keep_alive = keep_alive
        self._ssl = ssl_context or httpx.create_ssl_context(trust_env=False)
        self._wall = wall
        self._proxy = read_proxy(proxy)
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
        passage = _Passage(request, timeout, flight or Flight(), on_answer)
        return await passage.step(self._exchange(request, max_bytes, passage))

    @asynccontextmanager
    async def open(
        self, request: httpx.Request, *, timeout: float, max_bytes: int, on_answer: OnAnswer | None = None
    ) -> AsyncIterator[Arriving]:
        """Send `request`, once, and have its answer's head; the body is read inside, as it arrives.

        `timeout` bounds, in seconds, the way to the head and then the wait for each piece: how long the whole takes is
        up to who reads. Raises what `exchange()` raises, here and at each piece. The connection is given back, or
        closed where the body was not read to its end, when the block is left.
        """
        passage = _Passage(request, timeout, Flight(), on_answer)
        response = await passage.step(self._transport_of(request).handle_async_request(request))
        try:
            passage.answered(response)
            yield Arriving(response, passage, max_bytes)
        finally:
            await response.aclose()

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

    def _transport_of(self, request: httpx.Request) -> AiohttpTransport:
        return self._post if request.method == "POST" else self._get

    async def _exchange(self, request: httpx.Request, max_bytes: int, passage: _Passage) -> Reply:
        sent_at = self._wall()
        response = await self._transport_of(request).handle_async_request(request)
        try:
            passage.answered(response)
            body = bytearray()
            async for piece in _pieces(response):
                body += piece
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
                connector=_Connector(limit=self._max_connections, ssl=self._ssl, **lifetime),
                cookie_jar=aiohttp.DummyCookieJar(),  # accounts share the pool: one's cookies are not another's
                trust_env=False,
            )
            # aiohttp repeats a GET by itself where a kept connection turns out to be closed. The server may have seen
            # the first one: that would be two requests closer than the limit.
            made._retry_connection = False  # noqa: SLF001 - there is no public setting
            return made

        return AiohttpTransport(verify=self._ssl, trust_env=False, proxy=self._proxy, client=session)


class Arriving:
    """An answer whose head is here: status, headers, URL without its query; iterate over it for its body's pieces.

    Each piece raises TransportError where it does not come, ResponseTooLarge where the body has grown past its bound,
    EnvelopeError where its content encoding is broken.
    """

    def __init__(self, response: httpx.Response, passage: _Passage, max_bytes: int) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.url = bare(response.request.url)
        self._pieces = _pieces(response)
        self._passage = passage
        self._max_bytes = max_bytes
        self._read = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._passage.step(anext(self._pieces, None))
        if piece is None:
            raise StopAsyncIteration
        self._read += len(piece)
        if self._read > self._max_bytes:
            raise ResponseTooLarge(self._max_bytes, status=self.status, url=self.url)
        return piece


class _Passage:
    """One request on its way: bounds its steps, and tells what goes wrong in them without the libraries' words."""

    def __init__(self, request: httpx.Request, timeout: float, flight: Flight, on_answer: OnAnswer | None) -> None:
        self._url = request.url
        self._timeout = timeout
        self._flight = flight
        self._on_answer = on_answer
        self._status: int | None = None

    def answered(self, response: httpx.Response) -> None:
        """The answer's head is here."""
        self._status = response.status_code
        if self._on_answer is not None:
            self._on_answer(response.status_code, response.headers)

    async def step(self, work: Awaitable[Done]) -> Done:
        """The outcome of `work` within the timeout. Raises RingCloudError."""
        token = _flight.set(self._flight)
        try:
            async with asyncio.timeout(self._timeout):
                return await work
        except RingCloudError:
            raise
        except httpx.DecodingError:
            failure: RingCloudError = EnvelopeError("the body's content encoding is broken")
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            words = _words(error, self._timeout, self._flight, self._status is not None)
            failure = TransportError(words, maybe_sent=self._flight.maybe_sent)
        finally:
            _flight.reset(token)
        # Raised out here, where it has no context: aiohttp's own errors carry the whole URL.
        failure.status = self._status
        failure.url = bare(self._url)
        raise failure


def read_proxy(url: str | None) -> httpx.Proxy | None:
    """An HTTP proxy's URL as httpx takes it. Raises ValueError, which does not repeat the URL, for one that is none."""
    if url is None:
        return None
    try:
        proxy = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme != "http" or not proxy.url.host:
        raise ValueError("not an HTTP proxy's URL")
    if proxy.auth is None:
        return proxy
    # As a header: aiohttp's own way to say it is deprecated. It calls it Proxy-Authorization where it sends it.
    credentials = base64.b64encode(":".join(proxy.auth).encode()).decode()
    return httpx.Proxy(proxy.url, headers={"Authorization": f"Basic {credentials}"})


def bare(url: httpx.URL) -> str:
    """`url` without its query, which holds the secrets."""
    return str(url.copy_with(query=None))


_flight: ContextVar[Flight] = ContextVar("flight")


class _Connector(aiohttp.TCPConnector):
    """Marks the flight as soon as it has a connection; called in the task that sends.

    aiohttp's own way to be told, its traces, has it await a dozen calls more for each request.
    """

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        _flight.get().maybe_sent = True
        return connection


def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it arrives, its content encoding undone."""
    if "content-encoding" in response.headers:
        return response.aiter_bytes()
    # httpx's way through its decoders costs more than the transport's own reading.
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - what an AiohttpTransport answers with
    return aiter(response.stream)


# One second's answers, whoever they are for, have the same.
@lru_cache(maxsize=64)
def _read_date(text: str) -> Ms | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return millis(moment) if moment.tzinfo is not None else None


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
