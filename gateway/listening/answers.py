"""What a webhook is answered with: as asked for, or as the receiver says to which it is forwarded."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.listening.server import Hook

# What belongs to a connection and not to what goes over it (RFC 9110, 7.6.1), and what is made anew for the next one.
_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "content-length", "expect", "host"}
)
# As much of an answer as the gateway reads, and more seconds than it waits.
_ANSWER_LIMIT = 64 * 1024
_FORWARD_SECONDS = 30.0
TAKEN = 204
FAILED = 503


@dataclass(frozen=True, slots=True)
class Demands:
    """How to behave: the share that fails and with which status, how long (s) answers wait, where webhooks go on to."""

    fail_rate: float = 0.0
    status: int = FAILED
    delay: float = 0.0
    forward: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and in a word or two where it comes from."""

    response: web.Response
    note: str


class Answers:
    """Answers webhooks. One that is not taken is refused; of the others a share fails, evenly spread; the rest is taken.

    Only what would be taken is forwarded. To be entered before use.
    """

    def __init__(self, demands: Demands) -> None:
        self._demands = demands
        # A fraction: sums of 0.1 miss every tenth place by a hair.
        self._rate = Fraction(demands.fail_rate).limit_denominator(1_000_000)
        self._count = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        if self._demands.forward is not None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_FORWARD_SECONDS),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def to(self, hook: Hook) -> Reply:
        """The answer to a webhook, after the delay that was asked for."""
        fails = hook.refusal is None and self._next_fails()
        if self._demands.delay:
            await asyncio.sleep(self._demands.delay)
        if hook.refusal is not None:
            return Reply(web.Response(status=hook.refusal.status, text=f"{hook.refusal.reason}\n"), "refused")
        if fails:
            return Reply(web.Response(status=self._demands.status), "on demand")
        if self._session is not None and self._demands.forward is not None:
            return await self._forwarded(self._session, self._demands.forward, hook)
        return Reply(web.Response(status=TAKEN), "taken")

    def _next_fails(self) -> bool:
        before = int(self._count * self._rate)
        self._count += 1
        return int(self._count * self._rate) > before

    async def _forwarded(self, session: aiohttp.ClientSession, url: str, hook: Hook) -> Reply:
        headers = _end_to_end(hook.headers)
        try:
            async with session.post(url, data=hook.body, headers=headers, allow_redirects=False) as response:
                body = await _start_of(response)
                answer = web.Response(status=response.status, headers=_end_to_end(response.headers), body=body)
                return Reply(answer, "forwarded")
        except TimeoutError:
            return Reply(web.Response(status=504), f"forwarded: no answer within {_FORWARD_SECONDS:g} s")
        except aiohttp.ClientConnectorDNSError:
            return Reply(web.Response(status=502), "not forwarded: the host's name was not resolved")
        except aiohttp.ClientConnectorError as error:
            # By its number: asyncio's own words for it are another's and hold the address.
            why = os.strerror(error.os_error.errno) if error.os_error.errno else type(error.os_error).__name__
            return Reply(web.Response(status=502), f"not forwarded: {why}")
        except (aiohttp.ClientError, OSError) as error:
            return Reply(web.Response(status=502), f"forwarded: no answer: {type(error).__name__}")


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP)


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    while chunk := await response.content.read(_ANSWER_LIMIT - len(found)):
        found += chunk
    if not response.content.at_eof():
        response.close()
    return bytes(found)
