"""Makes one attempt at delivering a webhook, and says what came of it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import structlog

from gateway.contract.deliveries import Attempt, Delivery, Outcome
from streams.delivery.addresses import AddressPolicy, CheckedResolver, CheckedSockets, blocked_by
from streams.delivery.retries import retry_after
from streams.delivery.targets import Target

# How much of an answer's body is read before the connection is given up instead of being used again.
RESPONSE_LIMIT = 64 * 1024
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
GONE = 410

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
    retry_after: str | None = None


class Sender:
    """POSTs webhooks over one pool of connections. Only to addresses that the policy lets pass; follows no redirect."""

    def __init__(self, policy: AddressPolicy, clock: Callable[[], datetime]) -> None:
        """Take the policy for addresses and the clock for the attempts' times; to be made within the running loop."""
        self._clock = clock
        self._session = aiohttp.ClientSession(
            # Lanes bound the connections to each endpoint, so the pool need not.
            connector=aiohttp.TCPConnector(
                limit=0, resolver=CheckedResolver(policy), socket_factory=CheckedSockets(policy)
            ),
            # The attempt has one time limit as a whole.
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Nothing that an answer holds is unpacked: a few KiB can stand for gigabytes.
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
            headers={
                "content-type": CONTENT_TYPE,
                "user-agent": f"ringcloud-gateway/{importlib.metadata.version('ringcloud-gateway')}",
            },
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(self, target: Target, delivery: Delivery) -> Result:
        """Make the next attempt at `delivery`, within the endpoint's timeout as a whole.

        Whatever goes wrong is in the result; the texts in it hold no URL, no header and no secret.
        """
        at = self._clock()
        began = time.perf_counter()
        answer = _Answer()
        outcome: Outcome
        try:
            async with asyncio.timeout(target.endpoint.timeout):
                await self._post(target, delivery, int(at.timestamp()), answer)
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
        attempt = Attempt(
            delivery=delivery.id,
            endpoint=target.endpoint.id,
            number=delivery.attempts + 1,
            at=at,
            duration=time.perf_counter() - began,
            outcome=outcome,
            status=answer.status,
            error=error,
        )
        return Result(attempt, retry_after(answer.status, answer.retry_after, self._clock()))

    async def _post(self, target: Target, delivery: Delivery, timestamp: int, answer: _Answer) -> None:
        body = bytes(delivery.event)
        headers = target.signer.headers(delivery.id, timestamp, body)
        async with self._session.post(target.url, data=body, headers=headers, allow_redirects=False) as response:
            answer.status = response.status
            answer.retry_after = response.headers.get("Retry-After")
            left = RESPONSE_LIMIT
            while left > 0 and (chunk := await response.content.read(left)):
                left -= len(chunk)
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
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "unreachable", "the host's name was not resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        why = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else type(cause).__name__
        return "unreachable", f"the certificate was not accepted: {why}"
    if isinstance(error, aiohttp.ClientSSLError):
        return "unreachable", "TLS could not be agreed on"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "unreachable", f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "unreachable", "the connection was closed before the answer"
    if isinstance(error, aiohttp.InvalidURL):
        # aiohttp's connector refuses 127.1 and 2130706433 so, which are addresses in disguise.
        return "blocked", "the URL's host is not a name or an address in its usual form"
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return "unreachable", f"the connection broke: {type(error).__name__}"
    return "failed", type(error).__name__
