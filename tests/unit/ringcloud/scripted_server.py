"""A server that answers as it is told, over real HTTP, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

Behaviour = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    connection: object


@dataclass
class Script:
    """What to do with the next requests: one behaviour each, the last one for all that follow."""

    behaviours: list[Behaviour]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(
            Asked(
                request.method,
                request.raw_path.partition("?")[0],
                dict(request.query),
                dict(request.headers),
                await request.read(),
                request.transport.get_extra_info("peername") if request.transport else None,
            )
        )
        self.arrived.set()
        behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        return await behaviour(request)


@asynccontextmanager
async def scripted(*behaviours: Behaviour) -> AsyncIterator[Script]:
    """A server on a free port that does as `behaviours` say."""
    script = Script(list(behaviours))
    runner = web.ServerRunner(
        web.Server(script.handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield script
    finally:
        await runner.cleanup()


def reply(
    data: Any = None, *, status: int = 200, message: str | None = None, headers: dict[str, str] | None = None
) -> Behaviour:
    """The API's envelope: a success, or with a `message` a failure."""
    state = "success" if message is None else "error"
    return raw(msgspec.json.encode({"status": state, "message": message, "data": data}), status=status, headers=headers)


def raw(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """These bytes."""

    async def behave(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return behave


async def hang(_request: web.BaseRequest) -> web.StreamResponse:
    """No answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def drop(request: web.BaseRequest) -> web.StreamResponse:
    """The connection closes before an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def begin(body: bytes, *, length: int | None = None, then: Behaviour = drop) -> Behaviour:
    """Status, headers and a first part of the body, `length` announced; then something else."""

    async def behave(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        if length is not None:
            response.content_length = length
        await response.prepare(request)
        await response.write(body)
        await then(request)
        return response

    return behave
