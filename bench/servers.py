"""Servers that benchmarks ask, each in a process of its own on a core of its own."""

import asyncio
import functools
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import uvloop
from aiohttp import web

_START_SECONDS = 60
_STOP_SECONDS = 10
_TICKS = os.sysconf("SC_CLK_TCK")

# Listens while its block runs, and gives its URL. It is called in another process, so it and its arguments pickle.
Serve = Callable[..., AbstractAsyncContextManager[str]]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens at `url`."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """The processor time that it has used so far."""
        # After the name, which may hold anything: fields 14 and 15 of the whole line.
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class Watch:
    """From now on: which part of a core each of these processes uses."""

    def __init__(self, processes: Mapping[str, Server]) -> None:
        self._processes = processes
        self._used = {name: one.cpu_seconds() for name, one in processes.items()}
        self._began = time.perf_counter()

    def read(self) -> dict[str, float]:
        """The share of a core since the beginning, by the processes' names."""
        took = time.perf_counter() - self._began
        return {name: (one.cpu_seconds() - self._used[name]) / took for name, one in self._processes.items()}


@functools.cache
def cores() -> tuple[int, int]:
    """The core for the server and the one for its client: the same where there is only one.

    As it was when first asked: a process that moves to one of them afterwards still knows both.
    """
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextmanager
def serving(core: int, serve: Serve, *args: Any) -> Iterator[Server]:
    """`serve(*args)` in a process on `core`, on uvloop as the commands of the gateway are; ended with the block."""
    # A fresh interpreter: nothing of the client's is in the server's memory.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(core, serve, args, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise TimeoutError("the server does not start")
        url = ours.recv()
        assert process.pid is not None
        yield Server(url, process.pid)
    finally:
        ours.close()
        process.join(_STOP_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _run(core: int, serve: Serve, args: tuple[Any, ...], pipe: Connection) -> None:
    os.sched_setaffinity(0, {core})
    uvloop.run(_serve(serve, args, pipe))


async def _serve(serve: Serve, args: tuple[Any, ...], pipe: Connection) -> None:
    ended = asyncio.Event()
    # The other end is closed when the server is to end, and when its owner is gone.
    asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)
    async with serve(*args) as url:
        pipe.send(url)
        await ended.wait()


class _Fixed(asyncio.Protocol):
    """Answers the same bytes to every request, as soon as its head is here; requests have no body."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By name: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._pending = (self._pending + data).split(b"\r\n\r\n")
        if heads:
            self._transport.write(self._answer * len(heads))


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[str]:
    """The least that a server in Python can do: `answer`, head and body, for every request, without looking at it."""
    server = await asyncio.get_running_loop().create_server(lambda: _Fixed(answer), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def aiohttp_server(body: bytes) -> AsyncIterator[str]:
    """The least that a server on aiohttp can do: `body` as JSON for every request."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
