"""A receiver of webhooks that costs as little as it can, and can misbehave: for a process and a core of its own."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import aiohttp
import msgspec

# What the first word of a hook's path asks for.
WELL, HANGS, DRIPS, POURS, RESETS = "well", "hangs", "drips", "pours", "resets"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
_HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
_PIECE = bytes(64 * 1024)
_BLANK = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)
_OBSERVED = re.compile(rb'"observed_at":"([^"]+)"')
_BACKLOG = 4096
# For SO_LINGER: the connection is not closed but reset.
_AT_ONCE = struct.pack("ii", 1, 0)


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """A hook that came whole: its webhook-id, its path, when (Unix s), and the `observed_at` of its event, if it has one."""

    id: str
    path: str
    at: float
    observed_at: str | None


class Figures(msgspec.Struct, frozen=True):
    """How many hooks came whole since the start, and how many connections are open."""

    count: int
    connections: int


class _Kept:
    """What all connections have seen."""

    def __init__(self) -> None:
        self.count = 0
        self.connections = 0
        self.keeping = False
        self.arrivals: list[tuple[bytes, bytes, float, bytes]] = []

    def take(self) -> list[Arrival]:
        """The arrivals since the last time."""
        taken, self.arrivals = self.arrivals, []
        return [
            Arrival(_first(_ID, head) or "", path.decode(), at, _first(_OBSERVED, body))
            for head, path, at, body in taken
        ]

    def answer(self, path: bytes) -> bytes:
        """What it is asked for by the benchmark."""
        if path == b"/keep":
            self.keeping = True
        elif path == b"/take":
            return msgspec.json.encode(self.take())
        return msgspec.json.encode(Figures(self.count, self.connections))


class HookProtocol(asyncio.Protocol):
    """One connection: counts each POST that came whole, answers it as its path says, and each GET with what was seen."""

    def __init__(self, kept: _Kept) -> None:
        self._kept = kept
        self._pending = b""
        self._dripping: asyncio.TimerHandle | None = None
        self._pouring: asyncio.Handle | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By name: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._kept.connections += 1

    def connection_lost(self, _: Exception | None) -> None:
        self._kept.connections -= 1
        for handle in (self._dripping, self._pouring):
            if handle is not None:
                handle.cancel()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._pouring is not None:
            self._pouring.cancel()
            self._pour()

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(_BLANK)) >= 0:
            head = self._pending[:end]
            found = _LENGTH.search(head)
            whole = end + len(_BLANK) + (int(found[1]) if found else 0)
            if len(self._pending) < whole:
                return
            body, self._pending = self._pending[end + len(_BLANK) : whole], self._pending[whole:]
            method, path, _ = head[: head.index(b"\r\n")].split(b" ")
            if method == b"POST":
                self._hook(head, path, body)
            else:
                answer = self._kept.answer(path)
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

    def _hook(self, head: bytes, path: bytes, body: bytes) -> None:
        kept = self._kept
        kept.count += 1
        if kept.keeping:
            kept.arrivals.append((head, path, time.time(), body))
        if path.startswith(b"/hangs"):
            return
        if path.startswith(b"/drips"):
            self._transport.write(_LONG)
            self._drip()
        elif path.startswith(b"/pours"):
            self._transport.write(_HUGE)
            self._pour()
        elif path.startswith(b"/resets"):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._transport.abort()
        else:
            self._transport.write(_OK)

    def _pour(self) -> None:
        """A piece after the other, as fast as they are taken. The 10 GB are never reached: nobody reads so much."""
        if not self._full and not self._transport.is_closing():
            self._transport.write(_PIECE)
            self._pouring = asyncio.get_running_loop().call_soon(self._pour)

    def _drip(self) -> None:
        self._transport.write(b".")
        self._dripping = asyncio.get_running_loop().call_later(1.0, self._drip)


@asynccontextmanager
async def hook_server(hosts: int) -> AsyncIterator[str]:
    """Listen on 127.0.0.1 and on so many hosts (`host_of`), all on one port."""
    loop = asyncio.get_running_loop()
    kept = _Kept()
    make: Callable[[], asyncio.Protocol] = lambda: HookProtocol(kept)  # noqa: E731 - one for both servers
    async with await loop.create_server(make, "127.0.0.1", 0, backlog=_BACKLOG) as first:
        port = first.sockets[0].getsockname()[1]
        names = [host_of(number) for number in range(hosts)]
        async with await loop.create_server(make, names, port, backlog=_BACKLOG):
            yield f"http://127.0.0.1:{port}"


def host_of(number: int) -> str:
    """The loopback address of an endpoint's host: each has its own, as endpoints have."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


class Hooks:
    """Asks a `hook_server` at `url` what it has seen."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self._http = http

    def endpoint(self, number: int, behaviour: str = WELL) -> str:
        """The URL of an endpoint."""
        return f"http://{host_of(number)}:{self.port}/{behaviour}/{number}"

    async def count(self) -> int:
        """How many hooks came whole since the start."""
        return msgspec.json.decode(await self._get("count"), type=Figures).count

    async def keep(self) -> None:
        """From now on arrivals are kept, until they are taken."""
        await self._get("keep")

    async def take(self) -> list[Arrival]:
        """The arrivals kept since the last time."""
        return msgspec.json.decode(await self._get("take"), type=list[Arrival])

    async def _get(self, what: str) -> bytes:
        async with self._http.get(f"{self.url}/{what}") as answer:
            return await answer.read()


def _first(pattern: re.Pattern[bytes], text: bytes) -> str | None:
    found = pattern.search(text)
    return found[1].decode() if found else None
