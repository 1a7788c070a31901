"""Load from one process: a number of workers, each of which sends its next request when the last one is answered."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

from bench.harness import Sample
from bench.servers import Server

_WARM_UP_SECONDS = 0.5


class Refused(Exception):
    """Some requests were not answered 200: what was measured is not what was meant."""


async def throughput(server: Server, once: Callable[[], Awaitable[None]], workers: int, seconds: float) -> Sample:
    """How often a second `once` is done by so many workers, and how much of a core client and server use meanwhile.

    What `once` raises ends the measurement.
    """
    done = 0

    async def work() -> None:
        nonlocal done
        while True:
            await once()
            done += 1

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    try:
        await _unless_failed(tasks, _WARM_UP_SECONDS)
        watch, before = _Watch(server), done
        await _unless_failed(tasks, seconds)
        return watch.sample(done - before)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def raw_throughput(server: Server, requests: Iterator[bytes], connections: int, seconds: float) -> Sample:
    """As `throughput`, by a client that does nothing but send the next of `requests` and find the answer's end.

    Raises Refused when an answer is none of 200, or a connection ends.
    """
    loop = asyncio.get_running_loop()
    statuses: Counter[bytes] = Counter()
    clients = [
        (await loop.create_connection(lambda: _Client(requests, statuses), *_address(server)))[1]
        for _ in range(connections)
    ]
    try:
        await asyncio.sleep(_WARM_UP_SECONDS)
        watch, before = _Watch(server), statuses[_OK]
        await asyncio.sleep(seconds)
        sample = watch.sample(statuses[_OK] - before)
    finally:
        for client in clients:
            client.close()
    if set(statuses) != {_OK}:
        raise Refused(", ".join(f"{count} x {status.decode()!r}" for status, count in statuses.items()))
    return sample


async def raw_answer(server: Server, request: bytes) -> tuple[bytes, bytes]:
    """Head (its blank line included) and body of the answer to one request."""
    reader, writer = await asyncio.open_connection(*_address(server))
    try:
        writer.write(request)
        head = await reader.readuntil(_BLANK)
        return head, await reader.readexactly(_body_length(head))
    finally:
        writer.close()


class _Watch:
    """From now on: the time, and the processor time of this process and the server's."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._server_cpu = server.cpu_seconds()
        self._client_cpu = time.process_time()
        self._began = time.perf_counter()

    def sample(self, done: int) -> Sample:
        wall = time.perf_counter() - self._began
        return Sample(
            done / wall,
            {
                "server's core": (self._server.cpu_seconds() - self._server_cpu) / wall,
                "client's core": (time.process_time() - self._client_cpu) / wall,
            },
        )


_OK = b"HTTP/1.1 200 OK"
_BLANK = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "


class _Client(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], statuses: Counter[bytes]) -> None:
        self._requests = requests
        self._statuses = statuses
        self._pieces: list[bytes] = []
        self._missing = 0
        self._closed = False

    def close(self) -> None:
        self._closed = True
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By name: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._pieces.append(data)
            head, blank, body = b"".join(self._pieces).partition(_BLANK)
            if not blank:
                return
            self._pieces.clear()
            self._missing = _body_length(head + blank) - len(body)
            self._statuses[head[: head.index(b"\r\n")]] += 1
        if not self._missing and not self._closed:
            self._transport.write(next(self._requests))

    def connection_lost(self, _: Exception | None) -> None:
        if not self._closed:
            self._statuses[b"connection lost"] += 1


def _address(server: Server) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def _body_length(head: bytes) -> int:
    start = head.lower().index(_LENGTH) + len(_LENGTH)
    return int(head[start : head.index(b"\r\n", start)])


async def _unless_failed(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
