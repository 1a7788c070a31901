"""Makes one attempt at delivering a webhook, and says what came of it."""

from __future__ import annotations

import importlib.metadata
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver
from yarl import URL

from gateway.contract.deliveries import Attempt, Delivery, Outcome
from gateway.runtime.tracing import HEADER, NO_TRACES, Traces
from streams.delivery.addresses import UNUSUAL, AddressPolicy, CheckedResolver, CheckedSockets, any_socket, blocked_by
from streams.delivery.answers import BODY_SEEN, kept_body, kept_headers
from streams.delivery.limits import Limits
from streams.delivery.phases import Stopwatch, TimedConnector, running
from streams.delivery.posting import Body, Request
from streams.delivery.proxying import Passage
from streams.delivery.retries import retry_after
from streams.delivery.targets import Target

# How much of an answer's body is read before the connection is given up instead of being used again.
RESPONSE_LIMIT = 64 * 1024
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
GONE = 410
_DIRECT: dict[str, Any] = {}

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """An attempt as it is recorded, and what the receiver asked for."""

    attempt: Attempt
    retry_after: float | None = None  # seconds

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.attempt.outcome == "delivered"

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more (410)."""
        return self.attempt.status == GONE and self.attempt.outcome == "refused"


@dataclass(slots=True)
class _Answer:
    status: int | None = None
    headers: Mapping[str, str] | None = None
    body: bytes = b""


class Sender:
    """POSTs webhooks over one pool of connections. Only to addresses that the policy lets pass; follows no redirect."""

    def __init__(
        self,
        policy: AddressPolicy,
        clock: Callable[[], datetime],
        resolver: AbstractResolver | None = None,
        proxy: URL | None = None,
        traces: Traces = NO_TRACES,
    ) -> None:
        """Take the policy for addresses, the clock for the attempts' times, another resolver than the system's, and traces.

        With a `proxy` all goes through it, and it alone is dialled. To be made within the running loop.
        """
        self._clock = clock
        self._traces = traces
        self._limits = Limits()
        self._passage = None if proxy is None else Passage(proxy, policy, resolver)
        checked = CheckedResolver(policy, resolver) if self._passage is None else None
        sockets = CheckedSockets(policy) if self._passage is None else any_socket
        self._session = aiohttp.ClientSession(
            # Lanes bound the connections to each endpoint, so the pool need not.
            connector=TimedConnector(sockets, limit=0, resolver=checked),
            request_class=Request,
            # The attempt has one time limit as a whole.
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Nothing that an answer holds is unpacked: a few KiB can stand for gigabytes.
            auto_decompress=False,
            trust_env=False,
            headers={
                "content-type": CONTENT_TYPE,
                "user-agent": f"ringcloud-gateway/{importlib.metadata.version('ringcloud-gateway')}",
            },
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        if self._passage is not None:
            await self._passage.close()

    async def send(self, target: Target, delivery: Delivery, traceparent: str | None = None) -> Result:
        """Make the next attempt at `delivery`, within the endpoint's timeout as a whole.

        `traceparent` is the delivery's, if it has one. Whatever goes wrong is in the result; the texts in it hold no
        URL, no header that was sent and no secret.
        """
        number = delivery.attempts + 1
        with self._traces.begin(
            "attempt", traceparent, "client", delivery=delivery.id, endpoint=delivery.endpoint, attempt=number
        ) as span:
            result = await self._attempt(target, delivery, span.traceparent)
            outcome, status = result.attempt.outcome, result.attempt.status
            span.note(None if result.delivered else outcome, outcome=outcome, status=status)
        return result

    async def _attempt(self, target: Target, delivery: Delivery, traceparent: str | None) -> Result:
        at = self._clock()
        began = time.perf_counter()
        answer = _Answer()
        watch = Stopwatch()
        running.set(watch)
        outcome: Outcome
        try:
            with self._limits.within(target.endpoint.timeout):
                await self._post(target, delivery, traceparent, int(at.timestamp()), answer, watch)
            outcome, error = _judge(answer.status)
        except TimeoutError:
            outcome, error = "timeout", f"no full answer within {target.endpoint.timeout:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            outcome, error = _explain(failure)
        except Exception as failure:  # noqa: BLE001 - one endpoint must not end the delivery to all others
            # Without the error's own text: it may hold the URL.
            _log.error(
                "an attempt failed in an unforeseen way", endpoint=target.endpoint.id, kind=type(failure).__name__
            )
            outcome, error = "failed", type(failure).__name__
        phases, duration = watch.read(), time.perf_counter() - began
        headers = answer.headers
        attempt = Attempt(
            delivery=delivery.id,
            endpoint=target.endpoint.id,
            number=delivery.attempts + 1,
            at=at,
            duration=duration,
            outcome=outcome,
            status=answer.status,
            error=error,
            response_headers=None if headers is None else kept_headers(headers, target.redact),
            response_body=None if headers is None else kept_body(answer.body, target.redact),
            phases=phases,
        )
        asked = None if headers is None else headers.get("Retry-After")
        return Result(attempt, retry_after(answer.status, asked, self._clock()))

    async def _post(
        self,
        target: Target,
        delivery: Delivery,
        traceparent: str | None,
        timestamp: int,
        answer: _Answer,
        watch: Stopwatch,
    ) -> None:
        body = Body(bytes(delivery.event))
        headers = {**target.headers, **target.signer.headers(delivery.id, timestamp, body.value)}
        if traceparent is not None:
            headers[HEADER] = traceparent
        url, way = target.url, _DIRECT
        if self._passage is not None:
            watch.enter("resolve")
            url, host, way = await self._passage.to(url)
            headers |= host
        async with self._session.post(
            url, data=body, headers=headers, allow_redirects=False, ssl=target.tls, **way
        ) as response:
            watch.enter("body")
            answer.status = response.status
            answer.headers = response.headers
            left = RESPONSE_LIMIT
            while left > 0 and (chunk := await response.content.read(left)):
                left -= len(chunk)
                if len(answer.body) <= BODY_SEEN:
                    answer.body += chunk
            if not response.content.at_eof():
                # There is more; to let the connection be used again it would have to be read.
                response.close()


def _judge(status: int | None) -> tuple[Outcome, str | None]:
    if status is not None and 200 <= status < 300:
        return "delivered", None
    if status is not None and 300 <= status < 400:
        return "refused", f"HTTP {status}: redirects are not followed"
    return "refused", f"HTTP {status}"


def _explain(error: BaseException) -> tuple[Outcome, str]:
    """The outcome, and words of our own: aiohttp's hold the URL."""
    blocked = blocked_by(error)
    if blocked is not None:
        return "blocked", str(blocked)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return "unreachable", f"the proxy refused: HTTP {error.status}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "unreachable", f"no connection to the proxy: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return "unreachable", "the host's name was not resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        why = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else type(cause).__name__
        return "unreachable", f"the certificate was not accepted: {why}"
    if isinstance(refusal := getattr(error, "os_error", error.__cause__), ssl.SSLError):
        # A receiver that wants a client certificate says so here, or (TLS 1.3) when it should answer.
        return "unreachable", f"TLS was not agreed on: {(refusal.reason or type(refusal).__name__).lower()}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "unreachable", f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "unreachable", "the connection was closed before the answer"
    if isinstance(error, aiohttp.InvalidURL):
        # aiohttp's connector refuses 127.1 and 2130706433 so, which are addresses in disguise.
        return "blocked", UNUSUAL
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return "unreachable", f"the connection broke: {type(error).__name__}"
    return "failed", type(error).__name__
