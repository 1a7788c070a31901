"""`python -m bench.sandbox`: how many polls of active calls one sandbox process answers, beside what clients can ask.

Target: 3,000 requests a second on one core, with 50 calls in the answer, so that the sandbox is never what another
benchmark measures.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from hashlib import md5
from itertools import cycle

import aiohttp
import click
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

from bench.harness import Sample, Subject, Target, at_least, conclude, measure
from bench.load import raw_answer, raw_throughput, throughput
from bench.servers import Server, aiohttp_server, cores, raw_server, serving
from gateway.ringcloud import Http, Limiter, Priority, RingCloud
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings

_TARGET = 3_000
_ROWS = 50
_ACCOUNTS = 100
_PASSWORD = "bench"  # noqa: S105 - of keys that exist here alone
# Each may ask once in 5 s: enough for 12,000 requests a second. Beyond, the sandbox answers 429, which ends the
# measurement, and the client waits; it is far from there.
_KEYS = 60_000
_CONNECTIONS = 16
_PATH = "/v1/calls/active"
_LONG_MS = 86_400_000

_CEILING = "load generator alone (raw asyncio server)"
_PLAIN = "aiohttp client, bare"


@asynccontextmanager
async def _sandbox(keys: int, rows: int) -> AsyncIterator[str]:
    specs = [KeySpec(key, _PASSWORD) for key in _keys(keys)]
    async with SandboxServer(SandboxSettings(specs)) as server:
        for account in server.pbx.accounts:
            for number in range(rows):
                server.pbx.place_call(account, f"7495{number:07}", "400", "incoming", ring_ms=1_000, talk_ms=_LONG_MS)
        yield server.url


def _keys(count: int) -> list[str]:
    return [f"{1000 + number % _ACCOUNTS}_{number}" for number in range(count)]


def _auth(key: str) -> dict[str, str]:
    # MD5 is what the API prescribes.
    return {"api_key": key, "hash": md5(f"{key}{_PASSWORD}".encode(), usedforsecurity=False).hexdigest()}


def _request(key: str) -> bytes:
    query = "&".join(f"{name}={value}" for name, value in _auth(key).items())
    return f"GET {_PATH}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n".encode()


Once = Callable[[], Awaitable[None]]


@asynccontextmanager
async def _aiohttp_client(url: str) -> AsyncIterator[Once]:
    auths = cycle([_auth(key) for key in _keys(_KEYS)])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS)) as session:

        async def once() -> None:
            async with session.get(url, params=next(auths)) as response:
                await response.read()
                response.raise_for_status()

        yield once


@asynccontextmanager
async def _httpx_client(url: str) -> AsyncIterator[Once]:
    auths = cycle([_auth(key) for key in _keys(_KEYS)])
    async with httpx.AsyncClient(transport=AiohttpTransport(), trust_env=False) as client:

        async def once() -> None:
            (await client.get(url, params=next(auths))).raise_for_status()

        yield once


@asynccontextmanager
async def _ringcloud_client(base_url: str) -> AsyncIterator[tuple[Once, Once]]:
    """Our client as polling uses it: a poll, and a poll whose rows are decoded."""
    async with Http(max_connections=_CONNECTIONS) as http:
        limiter = Limiter()
        clients = cycle(
            [RingCloud(key, _PASSWORD, base_url=base_url, http=http, limiter=limiter) for key in _keys(_KEYS)]
        )

        async def fetch() -> None:
            await next(clients).fetch_active(priority=Priority.POLL)

        async def fetch_and_read() -> None:
            api = next(clients)
            api.read_active(await api.fetch_active(priority=Priority.POLL))

        yield fetch, fetch_and_read


async def _bench(runs: int, seconds: float, *, short: bool) -> None:
    server_core, client_core = cores()
    requests = [_request(key) for key in _keys(_KEYS)]
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(ExitStack())
        sandbox = servers.enter_context(serving(server_core, _sandbox, _KEYS, _ROWS))
        os.sched_setaffinity(0, {client_core})
        head, body = await raw_answer(sandbox, requests[-1])
        raw = servers.enter_context(serving(server_core, raw_server, head + body))
        bare = servers.enter_context(serving(server_core, aiohttp_server, body))

        def generated(name: str, server: Server, ceiling: str | None, *targets: Target) -> Subject:
            # Each server has its own round of the keys: none is asked with again before its 5 s are over.
            queue = cycle(requests)

            async def run() -> Sample:
                return await raw_throughput(server, queue, _CONNECTIONS, seconds)

            return Subject(name=name, run=run, ceiling=ceiling, targets=targets)

        def client(name: str, once: Once, ceiling: str | None) -> Subject:
            async def run() -> Sample:
                return await throughput(raw, once, _CONNECTIONS, seconds)

            return Subject(name=name, run=run, ceiling=ceiling)

        url = raw.url + _PATH
        enter = stack.enter_async_context
        fetch, fetch_and_read = await enter(_ringcloud_client(raw.url))
        figures = await measure(
            [
                generated(f"sandbox, {_ROWS} calls in the answer", sandbox, _CEILING, at_least(_TARGET)),
                generated("aiohttp server, the same bytes", bare, _CEILING),
                generated(_CEILING, raw, None),
                client("RingCloud.fetch_active", fetch, _PLAIN),
                client("RingCloud.fetch_active and read_active", fetch_and_read, _PLAIN),
                client("httpx client on aiohttp, bare", await enter(_httpx_client(url)), _PLAIN),
                client(_PLAIN, await enter(_aiohttp_client(url)), None),
            ],
            runs,
        )
    conclude(
        "sandbox",
        f"Answers of 200 to GET {_PATH} a second: one server process on one core, one client process on another, "
        f"{_CONNECTIONS} connections, {len(body):,} bytes an answer; the clients ask the raw asyncio server",
        "requests/s",
        figures,
        short=short,
        settings={
            "runs": runs,
            "seconds": seconds,
            "connections": _CONNECTIONS,
            "keys": _KEYS,
            "accounts": _ACCOUNTS,
            "calls in the answer": _ROWS,
            "bytes of the answer": len(body),
        },
        packages=("aiohttp", "httpx", "httpx-aiohttp", "uvloop", "msgspec", "yarl"),
    )


@click.command()
@click.option("--short", is_flag=True, help="Three runs of a second: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure the sandbox and the client, and write bench/results/sandbox.json."""
    uvloop.run(_bench(3 if short else 9, 1.0 if short else 5.0, short=short))


if __name__ == "__main__":
    main()
